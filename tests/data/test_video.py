import struct

import numpy as np
import pytest
import tensorflow as tf

from keras_seq.data.shuffling import shuffled
from keras_seq.data.video import VideoReport, read_frames, read_video


def clip(frames, height=4, width=6, channels=3, start=0):
    """Frame i is `start + 10 i` everywhere but in one corner, so that neither order nor place can be lost."""
    array = np.full((frames, height, width, channels), start, np.uint8)
    array += 10 * np.arange(frames, dtype=np.uint8)[:, None, None, None]
    array[:, 0, 0] = 99
    return array


def gif_bytes(frames):
    """An animated GIF of gray frames `(T, H, W)` below 128, by hand: codes of 8 bits, cleared before they grow."""
    T, H, W = frames.shape
    content = b"GIF89a" + struct.pack("<HHBBB", W, H, 0xF6, 0, 0) + bytes(gray for i in range(128) for gray in [i] * 3)
    for frame in frames:
        pixels = frame.astype(np.uint8).tobytes()
        codes = b"".join(b"\x80" + pixels[i : i + 100] for i in range(0, len(pixels), 100)) + b"\x81"
        blocks = b"".join(bytes([len(part)]) + part for part in (codes[i : i + 255] for i in range(0, len(codes), 255)))
        content += b"\x21\xf9\x04\x00\x0a\x00\x00\x00"  # how long it is shown
        content += b"\x2c" + struct.pack("<HHHHB", 0, 0, W, H, 0) + b"\x07" + blocks + b"\0"
    return content + b"\x3b"


def write_images(folder, frames, encode=tf.io.encode_png, ending="png"):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        (folder / f"frame_{number}.{ending}").write_bytes(encode(frame).numpy())
    return folder


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    (np.savez if path.suffix == ".npz" else np.save)(path, array)
    return path


def elements(dataset):
    return list(dataset.as_numpy_iterator())


def test_all_kinds_of_clips(tmp_path):
    frames = clip(12)
    gif = tmp_path / "a.gif"
    gif.write_bytes(gif_bytes(frames[..., 0]))
    (tmp_path / "a").mkdir()
    paths = [
        save(tmp_path / "a.npy", frames),
        save(tmp_path / "a.npz", frames),
        write_images(tmp_path / "images", frames),  # more than ten: frame_10 comes after frame_9
        gif,
    ]
    for path in paths:
        assert (read_frames(path) == frames).all(), path
    assert (read_frames(gif, channels=1) == frames[..., :1]).all()
    assert (read_frames(tmp_path / "images", channels=1) == frames[..., :1]).all()
    assert (read_frames(save(tmp_path / "gray.npy", frames[..., 0]), channels=1) == frames[..., :1]).all()
    jpeg = write_images(tmp_path / "jpeg", frames[:, 1:2, 1:2], tf.io.encode_jpeg, "jpg")
    assert np.abs(read_frames(jpeg).astype(int) - frames[:, 1:2, 1:2]).max() <= 2


@pytest.mark.parametrize("in_memory", [True, False])
def test_frames_and_labels(tmp_path, in_memory):
    for name, lengths in (("up", (3, 5)), ("down", (4,))):
        for length in lengths:
            save(tmp_path / name / f"{length}.npy", clip(length, start=length))
    video = read_video(tmp_path, in_memory=in_memory)
    assert video.class_names == ("down", "up") and len(video) == 3
    dataset = video.dataset()
    assert dataset.element_spec == (tf.TensorSpec([None, 4, 6, 3], tf.float32), tf.TensorSpec([], tf.int32))
    for (frames, label), length in zip(elements(dataset), (4, 3, 5), strict=True):
        assert frames == pytest.approx(clip(length, start=length) / 255) and label == (length != 4)
    assert video.report == VideoReport(read=3, kept=3, frames=12, shortest=3, longest=5)
    assert str(video.report) == "3 clips read, 3 kept: 12 frames, from 3 to 5"

    dataset = video.dataset(shuffled(1))
    orders = {tuple(len(frames) for frames, _ in elements(dataset)) for _ in range(6)}
    assert len(orders) > 1 and {tuple(sorted(order)) for order in orders} == {(3, 4, 5)}
    assert read_video(tmp_path, class_names=["up", "down"]).labels == [1, 0, 0]
    with pytest.raises(ValueError, match="up/3.npy: its class 'up' is not among `class_names`: down"):
        read_video(tmp_path, class_names=["down"])


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, range(10)),
        ({"every": 3}, [0, 3, 6, 9]),
        ({"num_frames": 4}, [0, 3, 6, 9]),
        ({"num_frames": 1}, [0]),
        ({"every": 2, "num_frames": 3}, [0, 4, 8]),
        ({"every": 5, "num_frames": 4}, [0, 0, 5, 5]),
        ({"every": 99}, [0]),
    ],
)
def test_chosen_frames(tmp_path, options, expected):
    path = save(tmp_path / "a.npy", clip(10))
    for in_memory in (True, False):
        video = read_video([path], **options, in_memory=in_memory)
        [frames] = elements(video.dataset())
        assert frames == pytest.approx(clip(10)[list(expected)] / 255)
        assert video.dataset().element_spec.shape == frames.shape
        assert video.report.short == (options == {"every": 5, "num_frames": 4}) and video.report.frames == 10


def test_one_size_for_all(tmp_path):
    chequered = np.uint8(np.indices((8, 8)).sum(axis=0) % 2 * 200)
    paths = [
        save(tmp_path / "a.npy", np.repeat(chequered[None, ..., None], 3, axis=0)),
        save(tmp_path / "b.npy", clip(3, 2, 2, 1)),
    ]
    video = read_video(paths, size=(4, 2), channels=1)
    assert video.dataset().element_spec == tf.TensorSpec([3, 4, 2, 1], tf.float32)
    batch = elements(video.dataset().batch(2))[0]
    assert batch.shape == (2, 3, 4, 2, 1)
    assert batch[0, :, 1:3] == pytest.approx(100 / 255, abs=0.02)  # the mean: shrunk without aliasing
    assert batch[1, 2, -1, 1] == pytest.approx(20 / 255)
    assert read_video(paths, channels=1).dataset().element_spec.shape.as_list() == [3, None, None, 1]


PNG = tf.io.encode_png(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).numpy()
JPEG = tf.io.encode_jpeg(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).numpy()
GIF = gif_bytes(clip(5)[..., 0])


def bad_clips(folder):
    """Everything that can be wrong: path, and what is said of it."""
    (folder / "cut.npy").write_bytes(save(folder / "whole.npy", clip(3)).read_bytes()[:-10])
    (folder / "cut.npz").write_bytes(save(folder / "whole.npz", clip(3)).read_bytes()[:-10])
    (folder / "text.npy").write_text("no array")
    (folder / "nothing.npy").write_bytes(b"")
    (folder / "clip.mp4").write_bytes(b"1234")
    (folder / "nothing.gif").write_bytes(b"")
    (folder / "text.gif").write_text("no picture at all, but some text; of some length")
    (folder / "cut.gif").write_bytes(GIF[:-20])
    (folder / "wrong.gif").write_bytes(GIF[:13] + GIF[20:])
    (folder / "empty").mkdir()
    (folder / "empty" / ".hidden").write_text("")
    images = {"cut_png": (PNG, PNG[:-40]), "cut_jpeg": (JPEG, JPEG[:-40]), "text": (PNG, b"no image"), "none": (b"",)}
    for name, contents in images.items():
        (folder / name).mkdir()
        for number, content in enumerate(contents):
            (folder / name / f"{number}.png").write_bytes(content)
    sizes = write_images(folder / "sizes", clip(2))
    (sizes / "frame_2.png").write_bytes(PNG)
    np.savez(folder / "two.npz", a=clip(2), b=clip(2))
    np.save(folder / "objects.npy", np.array([{}, {}], object))
    return [
        (folder / "cut.npy", "cut.npy cannot be read"),
        (folder / "cut.npz", "cut.npz cannot be read"),
        (folder / "text.npy", "text.npy cannot be read"),
        (folder / "nothing.npy", "nothing.npy cannot be read"),
        (folder / "objects.npy", "objects.npy cannot be read.*allow_pickle"),
        (folder / "clip.mp4", "clip.mp4 cannot be read: a clip is a .npy, .npz or .gif file or a folder"),
        (folder / "nothing.gif", "it ends after 0 bytes"),
        (folder / "text.gif", "text.gif cannot be read"),
        (folder / "cut.gif", f"it ends after {len(GIF) - 20} bytes, in the middle of a block"),
        (folder / "wrong.gif", "wrong.gif cannot be read"),
        (folder / "empty", "it has no frames"),
        (folder / "cut_png", "1.png is not a complete image"),
        (folder / "cut_jpeg", "1.png is not a complete image"),
        (folder / "text", "1.png is not a complete image"),
        (folder / "none", "0.png is not a complete image"),
        (sizes, r"frame_2.png has the shape \(16, 16, 3\), but the first image has \(4, 6, 3\)"),
        (folder / "two.npz", "it has 2 arrays, not one"),
        (save(folder / "no_frames.npy", clip(0)), "it has no frames"),
        (save(folder / "float.npy", clip(2) / 255), r"expected uint8 \(T, H, W, 3\), not float64"),
        (save(folder / "gray.npy", clip(2, channels=1)), r"expected uint8 .*, not uint8 \(2, 4, 6, 1\)"),
        (save(folder / "flat.npy", np.zeros(3, np.uint8)), r"expected uint8 .*, not uint8 \(3,\)"),
    ]


def test_bad_clips_are_named_or_skipped(tmp_path):
    good = save(tmp_path / "good" / "a.npy", clip(2))
    bad = bad_clips(tmp_path)
    for path, message in bad:
        with pytest.raises(ValueError, match=message) as error:
            read_video([path])
        assert str(path) in str(error.value) and "or omit it" in str(error.value)
    video = read_video([*(path for path, _ in bad), good], on_bad_file="skip", label=lambda path: path.parent.name)
    assert (video.report.read, video.report.kept, video.report.bad) == (len(bad) + 1, 1, len(bad))
    assert [str(path) in text for text, (path, _) in zip(video.report.skipped, bad, strict=True)] == [True] * len(bad)
    assert video.class_names == ("good",) and elements(video.dataset())[0][1] == 0
    with pytest.raises(ValueError, match="none of 1 files can be used.*cannot be read"):
        read_video([bad[0][0]], on_bad_file="skip")


def test_a_gif_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.gif"
    for length in range(0, len(GIF), 7):
        path.write_bytes(GIF[:length])
        with pytest.raises(ValueError, match="a.gif cannot be read"):
            read_frames(path)
    path.write_bytes(GIF)
    assert len(read_frames(path)) == 5


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone is not a folder"):
        read_video(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="gone.npy does not exist"):
        read_video([tmp_path / "gone.npy"])
    with pytest.raises(ValueError, match="none of 0 files"):
        read_video(tmp_path)
    save(tmp_path / "stray.npy", clip(2))
    with pytest.raises(ValueError, match="stray.npy is not in the folder of a class"):
        read_video(tmp_path)
    for options in ({"every": 0}, {"num_frames": 0}, {"channels": 4}):
        with pytest.raises(ValueError, match="must be positive, and `channels` 1 or 3"):
            read_video(tmp_path, **options)
    with pytest.raises(ValueError, match="`on_bad_file` must be"):
        read_video(tmp_path, on_bad_file="drop")


def test_some_clips_of_a_video(tmp_path):
    paths = [save(tmp_path / name / "a.npy", clip(3, start=start)) for start, name in enumerate("abc")]
    video = read_video(paths, label=lambda path: path.parent.name)
    some = video.select([2, 0])
    assert len(some) == 2 and some.paths == [paths[2], paths[0]] and some.class_names == ("a", "b", "c")
    for (frames, label), start in zip(elements(some.dataset()), (2, 0), strict=True):
        np.testing.assert_allclose(frames, clip(3, start=start) / np.float32(255), atol=1e-6)
        assert label == start
    assert len(video.select([])) == 0


def test_a_clip_that_is_read_again_has_the_chosen_frames(tmp_path):
    path = save(tmp_path / "a.npy", clip(7))
    video = read_video([path], every=2, num_frames=2, channels=clip(1).shape[-1], in_memory=False)
    assert (video.clip(0) == clip(7)[[0, 6]]).all()


def test_a_gif_of_which_not_all_frames_are_decoded(tmp_path, monkeypatch):
    (tmp_path / "a.gif").write_bytes(GIF)
    decode = tf.io.decode_gif
    monkeypatch.setattr(tf.io, "decode_gif", lambda content: decode(content)[:3])
    with pytest.raises(
        ValueError, match="a.gif cannot be read: only 3 of its 5 frames can be decoded. Recreate the clip"
    ):
        read_frames(tmp_path / "a.gif", channels=1)
