__version__: str

from cdrzoo import data as data
from cdrzoo import errors as errors
from cdrzoo import evaluation as evaluation
from cdrzoo import experiments as experiments
from cdrzoo import export as export
from cdrzoo import layers as layers
from cdrzoo import metrics as metrics
from cdrzoo import models as models
from cdrzoo import optimizers as optimizers
from cdrzoo import report as report
from cdrzoo import schema as schema
from cdrzoo import serving as serving
from cdrzoo import training as training
from cdrzoo.errors import InputError as InputError
from cdrzoo.schema import Domain as Domain
from cdrzoo.schema import Feature as Feature
from cdrzoo.schema import Schema as Schema
from cdrzoo.schema import Table as Table
from cdrzoo.training import callbacks as callbacks
from cdrzoo.training.config import RunConfig as RunConfig
from cdrzoo.training.predict import predict as predict
from cdrzoo.training.run import Run as Run
from cdrzoo.training.run import load_run as load_run
from cdrzoo.training.run import train as train
