"""Recommenders on the Hugging Face Hub: hf://user/name, hf://user/name@revision."""

from keras_multvae.recommender.hub.transfer import HubError, download, upload

__all__ = ["HubError", "download", "upload"]
