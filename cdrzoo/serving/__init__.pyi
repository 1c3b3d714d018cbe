from cdrzoo.serving.client import Client as Client
from cdrzoo.serving.config import write_config as write_config
from cdrzoo.serving.server import Server as Server
