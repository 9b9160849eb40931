"""What a data set's images say in a network's features: wrong labels, and what to label next."""

from keras_inception.curation.choosing import choose_next
from keras_inception.curation.labels import LabelCheck, check_labels, find_wrong_labels
from keras_inception.curation.network import Network
from keras_inception.curation.tables import suspects

__all__ = ["LabelCheck", "Network", "check_labels", "choose_next", "find_wrong_labels", "suspects"]
