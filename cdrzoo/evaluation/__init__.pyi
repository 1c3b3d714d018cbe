from cdrzoo.evaluation import drift as drift
from cdrzoo.evaluation import floors as floors
from cdrzoo.evaluation import groups as groups
from cdrzoo.evaluation import lift as lift
from cdrzoo.evaluation import statistics as statistics
from cdrzoo.evaluation import transfer as transfer
from cdrzoo.evaluation import twin as twin
