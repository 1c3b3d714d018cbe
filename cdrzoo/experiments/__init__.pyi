from cdrzoo.experiments import backtest as backtest
from cdrzoo.experiments import catalogue as catalogue
from cdrzoo.experiments import compare as compare
from cdrzoo.experiments import comparison as comparison
from cdrzoo.experiments import reproduce as reproduce
from cdrzoo.experiments import tune as tune
