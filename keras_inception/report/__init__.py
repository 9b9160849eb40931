"""A run as a page to look at."""

from keras_inception.report.page import write_report

__all__ = ["write_report"]
