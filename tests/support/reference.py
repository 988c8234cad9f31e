"""The mathematics as it is written, one loop a sum: what everything faster is held against. All in float64."""

from __future__ import annotations

import math

import numpy as np


def alpha(amplitude, tau, dt, cutoff, steps):
    """Samples of the alpha function, cut at the first one after its peak that is under the cutoff."""
    found = []
    for k in range(steps):
        value = amplitude * (k * dt / tau) * math.exp(1 - k * dt / tau)
        if k * dt > tau and abs(value) < cutoff:
            break
        found.append(value)
    return np.array(found)


def psp(x, eps):
    a = np.zeros(x.shape)
    for t in range(len(x)):
        for k in range(min(t + 1, len(eps))):
            a[t] += eps[k] * x[t - k]
    return a


def psp_adjoint(g, eps):
    return psp(g[::-1], eps)[::-1]


def spike(a, nu, theta):
    u, s = np.array(a, float), np.zeros(a.shape, bool)
    for t in range(len(a)):
        for k in range(1, min(t + 1, len(nu))):
            u[t] += nu[k] * s[t - k]
        s[t] = u[t] >= theta
    return u, s


def surrogate(u, srm):
    width = srm.tau_rho * srm.theta
    return srm.scale_rho / width * np.exp(-np.abs(u - srm.theta) / width)


def spike_adjoint(g, u, srm):
    return srm.dt * surrogate(u, srm) * g


def spike_adjoint_exact(g, u, srm, nu):
    out = np.zeros(u.shape)
    for t in reversed(range(len(u))):
        through = np.array(g[t], float)
        for k in range(1, min(len(u) - t, len(nu))):
            through += nu[k] * out[t + k]
        out[t] = srm.dt * surrogate(u[t], srm) * through
    return out


def conv(x, w, stride, padding, dilation, groups):
    """x (frames, H, W, C), w (kh, kw, C / groups, outputs), every constant a pair."""
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    frames, height, width, channels = x.shape
    kh, kw, inputs, outputs = w.shape
    rows = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    columns = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((frames, rows, columns, outputs))
    for r in range(rows):
        for c in range(columns):
            for i in range(kh):
                for j in range(kw):
                    h, v = r * sh + i * dh - ph, c * sw + j * dw - pw
                    if 0 <= h < height and 0 <= v < width:
                        for o in range(outputs):
                            first = o // (outputs // groups) * inputs
                            y[:, r, c, o] += x[:, h, v, first : first + inputs] @ w[i, j, :, o]
    assert channels == inputs * groups
    return y


def conv_input_adjoint(g, w, image, window, groups):
    """The gradient (frames, H, W, C) of an image (H, W): each error adds its window of weights."""
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = window
    inputs, outputs = w.shape[2], w.shape[3] // groups
    g, w = g.astype(np.float64), w.astype(np.float64)
    x = np.zeros((len(g), *image, inputs * groups))
    for r in range(g.shape[1]):
        for c in range(g.shape[2]):
            for i in range(kh):
                for j in range(kw):
                    h, v = r * sh + i * dh - ph, c * sw + j * dw - pw
                    if 0 <= h < image[0] and 0 <= v < image[1]:
                        for k in range(groups):
                            of, to = slice(k * outputs, (k + 1) * outputs), slice(k * inputs, (k + 1) * inputs)
                            x[:, h, v, to] += g[:, r, c, of] @ w[i, j, :, of].T
    return x


def conv_transpose(x, w, stride, padding, dilation, groups, output_padding):
    """x (frames, H, W, C), w (kh, kw, outputs / groups, C), every constant a pair."""
    image = (
        max(s * (n - 1) - 2 * p + d * (k - 1) + 1 + more, 0)
        for n, k, s, p, d, more in zip(x.shape[1:3], w.shape, stride, padding, dilation, output_padding, strict=False)
    )
    return conv_input_adjoint(x, w, tuple(image), (w.shape[:2], stride, padding, dilation), groups)


def unpool(x, kernel, stride, padding, dilation, gain):
    """As a transposed convolution of each channel by itself; gain is a number or (kh, kw)."""
    w = np.broadcast_to(np.reshape(gain, (*np.shape(gain), 1, 1)), (*kernel, 1, x.shape[3]))
    return conv_transpose(x, w, stride, padding, dilation, x.shape[3], (0, 0))


def pool(x, kernel, stride, padding, dilation, gain):
    """Gain is a number or (kh, kw)."""
    gains = np.broadcast_to(gain, kernel)
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = kernel, stride, padding, dilation
    frames, height, width, channels = x.shape
    rows = math.ceil((height + 2 * ph - dh * (kh - 1) - 1) / sh) + 1
    columns = math.ceil((width + 2 * pw - dw * (kw - 1) - 1) / sw) + 1
    y = np.zeros((frames, rows, columns, channels))
    for r in range(rows):
        for c in range(columns):
            for i in range(kh):
                for j in range(kw):
                    h, v = r * sh + i * dh - ph, c * sw + j * dw - pw
                    if 0 <= h < height and 0 <= v < width:
                        y[:, r, c] += gains[i, j] * x[:, h, v]
    return y


def max_pool(x, g, kernel, stride, padding, dilation):
    """Return the largest pixel of each window, and the gradient of x, for g (frames, rows, columns, channels)."""
    height, width = x.shape[1:3]
    y, of_x = np.zeros(g.shape, x.dtype), np.zeros(x.shape)
    for f, r, c, channel in np.ndindex(*g.shape):
        taps = [
            (r * stride[0] + i * dilation[0] - padding[0], c * stride[1] + j * dilation[1] - padding[1])
            for i, j in np.ndindex(*kernel)
        ]
        pixels = [(f, h, v, channel) for h, v in taps if 0 <= h < height and 0 <= v < width]
        first = max(pixels, key=lambda pixel: x[pixel])
        y[f, r, c, channel] = x[first]
        of_x[first] += g[f, r, c, channel]
    return y, of_x


def filter_bank(x, w):
    """x (T, ..., C), w (filters, taps); filter i makes the channels from i C on."""
    filters, taps = w.shape
    channels = x.shape[-1]
    y = np.zeros((*x.shape[:-1], filters * channels))
    for i in range(filters):
        for t in range(len(x)):
            for k in range(min(t + 1, taps)):
                y[t, ..., i * channels : (i + 1) * channels] += w[i, k] * x[t - k]
    return y


def filter_bank_weight_adjoint(x, g, filters, taps):
    channels = x.shape[-1]
    out = np.zeros((filters, taps))
    for i in range(filters):
        for k in range(taps):
            for t in range(k, len(x)):
                out[i, k] += (g[t, ..., i * channels : (i + 1) * channels] * x[t - k]).sum()
    return out


def delay_adjoint(g, y, dt):
    """The gradient of each neuron's delay, from the gradient of the delayed signal y (T, N, ...)."""
    out = np.zeros(y.shape[2:])
    for neuron in np.ndindex(y.shape[2:]):
        for n in range(y.shape[1]):
            for t in range(len(y)):
                before = float(y[(t - 1, n, *neuron)]) if t else 0.0
                out[neuron] -= g[(t, n, *neuron)] * (float(y[(t, n, *neuron)]) - before) / dt
    return out


def shift_linear(x, delay, dt):
    """x (T, N, ...), delay one a neuron, in milliseconds."""
    y = np.zeros(x.shape)
    for neuron in np.ndindex(x.shape[2:]):
        whole = math.floor(delay[neuron] / dt)
        share = delay[neuron] / dt - whole
        for t in range(len(x)):
            for back, part in ((whole, 1 - share), (whole + 1, share)):
                if 0 <= t - back < len(x):
                    y[(t, slice(None), *neuron)] += part * x[(t - back, slice(None), *neuron)]
    return y


def slayer_num_spikes(spikes, desired, first, last, eps, ts, scale=1.0):
    """SLAYER-PyTorch's numSpikes in its units: spikes (N, C, H, W, T) of height 1/Ts, desired (N, C, H, W).

    Return the loss, its gradient with respect to the spikes, and the error e(t). Regions are in steps.
    """
    error = np.zeros(spikes.shape)
    gradient = np.zeros(spikes.shape)
    loss = 0.0
    for at in np.ndindex(spikes.shape[:4]):
        count = sum(spikes[(*at, t)] * ts for t in range(first, last))
        for t in range(spikes.shape[4]):
            for k in range(min(t + 1, len(eps))):
                if not first <= t - k < last:
                    error[(*at, t)] += eps[k] * spikes[(*at, t - k)] * ts
            if first <= t < last:
                error[(*at, t)] += (count - desired[at]) / (last - first) * scale
            loss += 0.5 * error[(*at, t)] ** 2 * ts
        for t in range(spikes.shape[4]):
            for k in range(min(spikes.shape[4] - t, len(eps))):
                gradient[(*at, t)] += eps[k] * ts * error[(*at, t + k)] * ts
    return loss, gradient, error


def loihi(x, neuron):
    """Return the voltage before the reset and the spikes of Loihi's neuron for x (T, columns), in Python's integers."""
    return _loihi(x, neuron)[1:]


def loihi_current(x, neuron):
    """Return the current of Loihi's neuron for x (T, columns), in Python's integers."""
    return _loihi(x, neuron)[0]


def _loihi(x, neuron):
    most = 2**23 - 1

    def decayed(state, decay):
        return (1 if state >= 0 else -1) * ((abs(state) * (4096 - decay)) >> 12)

    def saturated(state):
        return max(-most, min(most, state))

    current, v_seen, s = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape, bool)
    for m in range(x.shape[1]):
        i = v = held = 0
        for t in range(len(x)):
            w = float(x[t, m]) if t or neuron.first_bin else 0.0
            i = saturated(decayed(i, neuron.i_decay) + round(2.0 ** (6 + neuron.wgt_exp) * w))
            v = 0 if held else saturated(decayed(v, neuron.v_decay) + i)
            held = max(held - 1, 0)
            current[t, m], v_seen[t, m], s[t, m] = i, v, v > neuron.theta
            if s[t, m]:
                v, held = 0, neuron.ref_delay - 1
    return current, v_seen, s
