"""The public names with their types, which `__init__.py` loads lazily."""

from keras_inception.complete_run import Run as Run
from keras_inception.complete_run import load_run as load_run
from keras_inception.complete_run import train as train
from keras_inception.drawing.diagram import diagram as diagram
from keras_inception.evaluation.protocol import evaluate as evaluate
from keras_inception.exporting.fastest import optimize as optimize
from keras_inception.exporting.run import export as export
from keras_inception.models.bn_inception import BNInception as BNInception
from keras_inception.models.fusion import fuse as fuse
from keras_inception.models.imagenet import decode_predictions as decode_predictions
from keras_inception.models.imagenet import imagenet_classes as imagenet_classes
from keras_inception.models.inception_resnet import InceptionResNetV1 as InceptionResNetV1
from keras_inception.models.inception_resnet import InceptionResNetV2 as InceptionResNetV2
from keras_inception.models.inception_v1 import InceptionV1 as InceptionV1
from keras_inception.models.inception_v2 import InceptionV2 as InceptionV2
from keras_inception.models.inception_v3 import InceptionV3 as InceptionV3
from keras_inception.models.inception_v4 import InceptionV4 as InceptionV4
from keras_inception.models.measure import endpoints as endpoints
from keras_inception.models.measure import feature_pyramid as feature_pyramid
from keras_inception.models.measure import multiply_adds as multiply_adds
from keras_inception.models.measure import smallest_input as smallest_input
from keras_inception.models.measure import summary_by_block as summary_by_block
from keras_inception.models.publishers import convert_weights as convert_weights
from keras_inception.models.registry import comparison_table as comparison_table
from keras_inception.models.registry import default_preprocessing as default_preprocessing
from keras_inception.models.registry import get_model as get_model
from keras_inception.models.registry import list_models as list_models
from keras_inception.models.saving import load_model as load_model
from keras_inception.models.saving import load_weights as load_weights
from keras_inception.models.saving import save_model as save_model
from keras_inception.models.surgery import freeze_backbone as freeze_backbone
from keras_inception.models.surgery import replace_head as replace_head
from keras_inception.models.surgery import to_inference as to_inference
from keras_inception.preprocessing import Preprocessing as Preprocessing
from keras_inception.runtime import Classifier as Classifier
from keras_inception.runtime import load_classifier as load_classifier
from keras_inception.runtime.predict import predict as predict
from keras_inception.weights import Weights as Weights
from keras_inception.weights import get_weights as get_weights
from keras_inception.weights import list_weights as list_weights
from keras_inception.weights import save_weights as save_weights

__version__: str
