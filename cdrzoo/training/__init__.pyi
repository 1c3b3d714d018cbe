from cdrzoo.training import callbacks as callbacks
from cdrzoo.training.config import RunConfig as RunConfig
from cdrzoo.training.config import Training as Training
