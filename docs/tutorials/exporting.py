# %% [markdown]
# # Exporting to four formats
#
# One trained translator in four forms, each for another place. You learn what each format holds, how it is called,
# and what it weighs.
#
# Needs `pip install ".[onnx,ctranslate2]"` in a checkout.
#
# ## A model to export
#
# A small Transformer that spells numbers backwards. All four formats can hold it.

# %%
import random

import keras
import tensorflow as tf

from keras_seq import data, losses, models, optimizers, tasks, text

tf.get_logger().setLevel("ERROR")

names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
random.seed(1)
sources = [" ".join(random.choices(names, k=random.randint(2, 5))) for _ in range(2500)]
targets = [" ".join(reversed(source.split())) for source in sources]
words = text.Words.train(sources)
pairs = tf.data.Dataset.from_tensor_slices((sources, targets)).apply(words.encoded()).cache()
batches = pairs.apply(data.shuffled(seed=1)).apply(data.bucketed(1024)).apply(data.teacher_forcing(words.start_id))
keras.utils.set_random_seed(1)
model = models.Transformer(words.size, units=32, num_layers=1, num_heads=4, intermediate_dim=64, dropout=0.0)
model.compile(optimizers.Adam(0.005), losses.TokenCrossentropy())
model.fit(batches, epochs=12, verbose=0)
backwards = tasks.Translation(model, words, num_beams=3, max_length=8)
print(backwards(["one two three", "nine nine zero four"]))

# %% [markdown]
# ## SavedModel: strings in, strings out
#
# It has the vocabulary, the model and the search. It runs with TensorFlow alone, in TensorFlow Serving too. The
# export is loaded in a fresh process and compared before it is put in place.

# %%
from keras_seq import export

export.saved_model(backwards, "saved_models/backwards")
translate = tf.saved_model.load("saved_models/backwards").signatures["translate"]
print(translate(text=tf.constant(["one two three"]))["text"].numpy())

# %% [markdown]
# ## CTranslate2: the fastest on a CPU
#
# For Transformers. It has a search of its own, and the caller splits and joins the words. In eight bits the matrices
# have a quarter of their size. That counts for a large model more than for this one.

# %%
import ctranslate2

export.ctranslate2(model, "ct2/backwards", words)
export.ctranslate2(model, "ct2/backwards-int8", words, quantization="int8")
translator = ctranslate2.Translator("ct2/backwards-int8")
print(translator.translate_batch([["one", "two", "three"]], beam_size=3)[0].hypotheses[0])

# %% [markdown]
# ## LiteRT: phones and small computers
#
# One file without a search. With `steps` it decodes a token at a time, and the caller keeps the state, as in
# [translation, step by step](translation.md).

# %%
import numpy as np

length = 6
export.litert(model, "backwards.tflite", np.zeros((1, length), "int32"), steps=8)
interpreter = tf.lite.Interpreter("backwards.tflite")
encode, decode = (interpreter.get_signature_runner(name) for name in ("encode", "decode"))


def on_a_phone(sentence):
    ids = [*words.tokenize(sentence).numpy(), words.end_id]
    state = encode(source=np.array([ids + [words.pad_id] * (length - len(ids))], "int32"))
    token, written = words.start_id, []
    while token != words.end_id and len(written) < 8:
        state = decode(tokens=np.array([[token]], "int32"), **state)
        token = int(state.pop("logits").argmax())
        written.append(token)
    return words.detokenize([written]).numpy()[0].decode()


print(on_a_phone("one two three"))

# %% [markdown]
# ## ONNX: other runtimes
#
# One call of the model: from a source and the beginning of a target to the logits of the next token. It scores, and a
# program of yours can search with it.

# %%
import onnxruntime

source = [*words.tokenize("one two three").numpy(), words.end_id]
target = [words.start_id, *words.tokenize("three two").numpy()]
pair = {"source": np.array([source], "int32"), "target": np.array([target], "int32")}
export.onnx(model, "backwards.onnx", pair)
session = onnxruntime.InferenceSession("backwards.onnx")
(logits,) = session.run(None, {f"args_0_{name}": ids for name, ids in pair.items()})
print("after 'three two' comes", words.pieces([int(logits[0, -1].argmax())]))

# %% [markdown]
# ## Side by side

# %%
import pathlib
import time


def size(path):
    files = [pathlib.Path(path), *pathlib.Path(path).rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def milliseconds(call):
    call()
    begin = time.perf_counter()
    for _ in range(20):
        call()
    return (time.perf_counter() - begin) * 50


exact, sentence = ctranslate2.Translator("ct2/backwards"), [["one", "two", "three"]]
calls = {
    "saved_models/backwards": lambda: translate(text=tf.constant(["one two three"])),
    "ct2/backwards": lambda: exact.translate_batch(sentence, beam_size=3),
    "ct2/backwards-int8": lambda: translator.translate_batch(sentence, beam_size=3),
    "backwards.tflite": lambda: on_a_phone("one two three"),
    "backwards.onnx": lambda: session.run(None, {f"args_0_{name}": ids for name, ids in pair.items()}),
}
for path, call in calls.items():
    print(f"{path:24} {size(path) / 1e3:7.0f} kB  {milliseconds(call):6.1f} ms a sentence")

# %% [markdown]
# The ONNX file computes one call, the others a whole sentence. Times are those of one core.
#
# ## Next
#
# - All signatures, options and limits: [export](../export.md).
# - A server: [serve an export](../start/serving.md), [serving](../serving.md).
