from cdrzoo.evaluation import floors as floors
from cdrzoo.evaluation import statistics as statistics
from cdrzoo.evaluation import transfer as transfer
