"""Names of ATen operations, by what they do to channels. In-place forms have the same name."""

ENTRYWISE = frozenset({
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
    "hardtanh", "sigmoid", "log_sigmoid", "tanh", "softplus", "softsign", "threshold", "clamp",
    "clamp_min", "clamp_max", "rrelu", "softshrink", "hardshrink",
    "add", "sub", "rsub", "mul", "div", "addcmul", "addcdiv", "maximum", "minimum", "where", "lerp", "pow", "sqrt",
    "rsqrt", "square", "exp", "expm1", "log", "log1p", "abs", "neg", "sign", "reciprocal", "erf", "sin", "cos", "floor",
    "round", "dropout", "feature_dropout", "alpha_dropout", "clone", "contiguous", "detach", "alias", "to", "_to_copy",
    "type_as", "bernoulli", "nan_to_num", "lift_fresh_copy", "eq", "ne", "lt", "le", "gt", "ge", "logical_not",
    "copy",
})  # fmt: skip
OVER_POSITIONS = frozenset({
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_nearest_exact2d", "grid_sampler",
    "pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad2d", "max_pool2d_with_indices",
    "lp_pool2d",
})  # fmt: skip
MOVES = frozenset({
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "permute", "transpose", "t", "movedim", "unsqueeze",
    "squeeze", "expand", "expand_as", "flip", "roll", "cat", "concat", "stack", "repeat", "repeat_interleave", "tile",
    "chunk", "tensor_split", "unbind", "split", "split_with_sizes", "slice", "select", "narrow", "rot90",
    "swapaxes", "broadcast_to", "numpy_T", "mT", "channel_shuffle", "native_channel_shuffle", "pixel_unshuffle",
})  # fmt: skip
CUT_FROM = frozenset({"split", "split_with_sizes", "slice", "select", "narrow", "unbind", "tensor_split"})
REDUCTIONS = frozenset({
    "mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean", "norm", "linalg_vector_norm",
    "logsumexp", "prod", "argmax", "argmin",
})  # fmt: skip
ALONG_AN_AXIS = frozenset({"softmax", "_softmax", "log_softmax", "normalize", "glu"})
STAY = frozenset({
    "matmul", "bmm", "mm", "baddbmm", "einsum", "scaled_dot_product_attention", "addmm", "index", "gather", "topk",
    "cumsum", "sort", "local_response_norm", "unfold", "im2col", "col2im", "fold", "embedding", "rms_norm", "bilinear",
    "linalg_norm", "cdist", "outer", "masked_fill", "mv", "dot", "vdot", "_weight_norm", "lstm", "gru", "rnn_tanh",
    "rnn_relu", "index_put", "index_select", "view_as_complex", "view_as_real", "complex", "polar", "fft_fft",
    "fft_ifft", "fft_rfft", "fft_irfft", "fft_fft2", "fft_ifft2", "fft_rfft2", "fft_irfft2", "fft_fftn", "fft_ifftn",
    "fft_rfftn", "fft_irfftn", "fft_fftshift", "fft_ifftshift",
})  # fmt: skip
CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose2d", "convolution"})
MAKE = frozenset({"zeros", "ones", "full", "arange", "empty", "linspace", "rand", "randn", "new_zeros", "new_ones",
                  "new_full", "new_empty", "scalar_tensor", "eye", "meshgrid"})  # fmt: skip
ALIKE = frozenset({"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"})
REPEAT = frozenset({"expand", "repeat", "tile", "broadcast_to", "zeros", "ones", "full", "empty", "rand", "randn",
                    "new_zeros", "new_ones", "new_full", "new_empty"})  # fmt: skip
"""What may make something for every image that was there once, or not at all."""
INSIDE = frozenset({"wrap_with_set_grad_enabled", "wrap_with_autocast"})
