"""Who answers. Importing this room registers the tiny architecture with the Auto classes."""

from transformers import AutoConfig, AutoModelForCausalLM

from keyturn.policies.tiny import TinyConfig, TinyForCausalLM

AutoConfig.register(TinyConfig.model_type, TinyConfig, exist_ok=True)
AutoModelForCausalLM.register(TinyConfig, TinyForCausalLM, exist_ok=True)
