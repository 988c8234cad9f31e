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


def pool(x, kernel, stride, padding, dilation, gain):
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
                        y[:, r, c] += gain * x[:, h, v]
    return y
