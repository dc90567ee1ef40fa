// Sound from a file or the microphone, as a WAV file of 16 bits and one channel.

export async function asWav(sound, rate) {
  const bytes = await sound.arrayBuffer();
  if (new TextDecoder("latin1").decode(bytes.slice(0, 4)) === "RIFF") return bytes;
  const context = new AudioContext();
  try {
    const decoded = await context.decodeAudioData(bytes);
    const offline = new OfflineAudioContext(1, Math.max(1, Math.ceil(decoded.duration * rate)), rate);
    const source = offline.createBufferSource();
    source.buffer = decoded;
    source.connect(offline.destination);
    source.start();
    return wav((await offline.startRendering()).getChannelData(0), rate);
  } finally {
    await context.close();
  }
}

function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (place, text) => [...text].forEach((sign, i) => view.setUint8(place + i, sign.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, x))), true));
  return view.buffer;
}

// A function that starts a recording, and stops it when it is called again.
export function recorder(button, status, take) {
  let running = null;
  return async () => {
    if (running) {
      running.stop();
      return;
    }
    if (!navigator.mediaDevices) throw new Error("This browser records only on localhost or over https.");
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [];
    running = new MediaRecorder(stream);
    running.addEventListener("dataavailable", (event) => parts.push(event.data));
    running.addEventListener("stop", () => {
      for (const track of stream.getTracks()) track.stop();
      running = null;
      button.textContent = "Record";
      button.setAttribute("aria-pressed", "false");
      status.textContent = "Recorded. Send it now.";
      take(new Blob(parts));
    });
    running.start();
    button.textContent = "Stop";
    button.setAttribute("aria-pressed", "true");
    status.textContent = "Recording.";
  };
}
