"""The texts that the linter's rules rest on. Each was read for what a rule says of it."""

APPLE_RULES = "https://github.com/apple/coreai-models/blob/main/skills/skills/model-authoring/references/neural_engine_rules.md"
"""Apple's rules for models on the Neural Engine, written for Core AI, which follows Core ML; the hardware is the same."""

TYPED_EXECUTION = "https://apple.github.io/coremltools/docs-guides/source/typed-execution.html"
FLEXIBLE_INPUTS = "https://apple.github.io/coremltools/docs-guides/source/flexible-inputs.html"
FAQ = "https://apple.github.io/coremltools/docs-guides/source/faqs.html#neural-engine-with-flexible-input-shapes"
BISECT_MODEL = "https://apple.github.io/coremltools/docs-guides/source/mlmodel-utilities.html#bisect-model"
DYNAMIC_FORUM = "https://developer.apple.com/forums/thread/724930"
RECURRENT = "https://github.com/apple/coremltools/issues/1780"
RANK = "https://github.com/apple/coremltools/issues/1723"
SENTINEL = "https://github.com/apple/coremltools/pull/2669"
SOFTPLUS = "https://github.com/apple/coremltools/issues/2687"
MISH = "https://github.com/apple/coremltools/issues/2359"
LOG_SOFTMAX = "https://github.com/apple/coremltools/issues/2728"
LOGCUMSUMEXP = "https://github.com/apple/coremltools/issues/2729"

HOLLANCE = "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md"
"""Matthijs Hollemans' notes, partly guesses, as they say."""

HOLLANCE_16_BIT = "https://github.com/hollance/neural-engine/blob/master/docs/16-bit.md"

GUIDE_NUMERICS = "https://ane-guide.readthedocs.io/en/latest/part-1-machine/03-numerics.html"
"""S. Bryngelson's guide (arXiv:2606.22283), measured below Core ML, mostly on an M1: what Core ML itself does may differ."""

GUIDE_CAPABILITIES = "https://ane-guide.readthedocs.io/en/latest/part-1-machine/04-capability-surface.html"
GUIDE_SHAPES = "https://ane-guide.readthedocs.io/en/latest/part-5-practice/17-model-design-rules.html"
GUIDE_PITFALLS = "https://ane-guide.readthedocs.io/en/latest/part-5-practice/19-pitfalls-and-limits.html"
CATALOG = "https://aneforge.readthedocs.io/en/latest/op-catalog/"
"""The same author's table of operators by chip."""

RF_DETR = "https://github.com/roboflow/rf-detr/pull/1495"
"""A compute plan of fp16 packages on an M3 Pro under macOS 27: which operators ran on the CPU."""
