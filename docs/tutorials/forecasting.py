# %% [markdown]
# # Forecasting with bands
#
# A forecast without its uncertainty is half a forecast. You learn to train quantiles, to measure whether the band
# holds as many values as it promises, and to correct it.
#
# ## The data
#
# Forty weeks of an hourly load: a daily and a weekly rhythm, and noise that is larger in the daytime. In place of it
# take a CSV file or a DataFrame of yours: `data.read_series("load.csv")`.

# %%
import numpy as np
import pandas as pd

random = np.random.default_rng(1)
hours = pd.date_range("2026-01-01", periods=40 * 7 * 24, freq="h")
day = np.sin(2 * np.pi * (hours.hour - 8) / 24).to_numpy()
weekend = (hours.dayofweek >= 5).astype(float)
drift = np.cumsum(random.normal(0, 0.03, len(hours)))
load = 20 + 6 * day - 5 * weekend + drift + random.normal(0, 1, len(hours)) * (0.4 + 0.8 * (day > 0))
frame = pd.DataFrame({"time": hours, "load": load})
print(frame.head(3).to_string(index=False))

# %% [markdown]
# ## Windows
#
# From three days the next day is forecast. The three parts follow each other in time, so nothing of the test is seen
# in training.

# %%
from keras_seq import data

series = data.read_series(frame)
splits = data.windows(series, look_back=72, horizon=24, split=(0.7, 0.15, 0.15))
print(splits.report)
batches = splits.train.dataset(data.shuffled(1, buffer_size=len(splits.train)), batch_size=64)
past, future = next(iter(batches))
print(past.shape, future.shape)

# %% [markdown]
# ## Quantiles
#
# The model has three outputs for each hour. Of the observed values 10% should lie below the first, 50% below the
# second and 90% below the third. `losses.QuantileLoss` is smallest if they do.

# %%
import keras

from keras_seq import losses, models, optimizers

quantiles = (0.1, 0.5, 0.9)
keras.utils.set_random_seed(1)
options = {"architecture": "gru", "units": 32, "num_layers": 1, "patch_length": 12, "patch_stride": 12}
model = models.forecaster(1, look_back=72, horizon=24, quantiles=quantiles, **options)
model.compile(optimizers.Adam(0.003), losses.QuantileLoss(quantiles))
history = model.fit(batches, validation_data=splits.valid.dataset(batch_size=256), epochs=6, verbose=0)
print([round(value, 3) for value in history.history["val_loss"]])

# %% [markdown]
# ## Is the band right?
#
# Count: which share of the observed values lies below each quantile? `models.calibrate` moves the quantiles until the
# shares on the validation part are right. Then count on the test part, which neither training nor calibration has
# seen. There the shares are near 10, 50 and 90%, but not equal: the weeks of the test are other weeks.

# %%
test = splits.test.dataset(batch_size=256)
observed = np.concatenate([future for _, future in test])


def shares():
    forecast = model.predict(test, verbose=0)
    return [f"{(observed < forecast[..., number]).mean():.1%}" for number in range(len(quantiles))]


print("below the quantiles, before:", shares())
models.calibrate(model, splits.valid.dataset(batch_size=256), quantiles)
print("below the quantiles, after: ", shares())

# %% [markdown]
# ## The picture
#
# The task returns to the unit of the series. The band is wide in the daytime and narrow at night, as the noise is.

# %%
import matplotlib.pyplot as plt

from keras_seq import tasks

task = tasks.Forecasting(model, splits.scaler, look_back=72, quantiles=quantiles)
start = int(splits.test.starts[100])
forecast = task(series.values[start : start + 72])  # (24, 1, 3)
known, ahead = hours[start : start + 72], hours[start + 72 : start + 96]
figure, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
axes.plot(known, load[start : start + 72], color="gray", label="past")
axes.plot(ahead, load[start + 72 : start + 96], color="black", label="observed")
axes.plot(ahead, forecast[:, 0, 1], color="tab:blue", label="median")
axes.fill_between(ahead, forecast[:, 0, 0], forecast[:, 0, 2], color="tab:blue", alpha=0.25, label="80% band")
axes.set(ylabel="load")
figure.legend(loc="outside upper center", ncols=4, fontsize="small")
plt.show()

# %%
band = model.predict(test, verbose=0)
inside = (observed >= band[..., 0]) & (observed <= band[..., 2])
by_hour = inside.mean(axis=(0, 2))
print(f"inside the band: {inside.mean():.1%}; by hour ahead from {by_hour.min():.1%} to {by_hour.max():.1%}")

# %% [markdown]
# ## Next
#
# - Columns that are known ahead, such as the calendar: `data.windows(..., known_future=["hour", "weekday"])`, and
#   `models.forecaster(num_known=2)`.
# - Baselines, horizons up to a month, published data: [the recipe](../forecasting.md).
