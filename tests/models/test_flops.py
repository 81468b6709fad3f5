import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from dlresearch.models import MLP, ConvNet, count_flops, functional


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def convolution(stride=1, padding="VALID", groups=1, dilation=1):
    def apply(images, kernel):
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            (stride, stride),
            padding,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    return apply


def with_gradients(function):
    def apply(*arguments):
        output, backward = jax.vjp(function, *arguments)
        return output, backward(output)

    return apply


def test_matrix_product_is_two_m_n_k():
    assert count_flops(jnp.matmul, array(3, 5), array(5, 7)) == 2 * 3 * 5 * 7


def test_batched_product_counts_every_matrix():
    assert count_flops(jnp.matmul, array(4, 3, 5), array(4, 5, 7)) == 4 * 2 * 3 * 5 * 7


def test_convolution_without_padding_is_the_textbook_formula():
    flops = count_flops(convolution(), array(2, 8, 8, 3), array(3, 3, 3, 5))
    assert flops == 2 * (2 * 6 * 6 * 5) * (3 * 3 * 3)


def test_groups_divide_the_input_channels():
    flops = count_flops(convolution(groups=3), array(2, 8, 8, 6), array(3, 3, 2, 9))
    assert flops == 2 * (2 * 6 * 6 * 9) * (3 * 3 * 2)


def test_zeros_of_padding_are_not_counted():
    # Along each axis of 8, a kernel of 3 has 8 * 3 - 2 entries on the image.
    flops = count_flops(convolution(padding="SAME"), array(2, 8, 8, 3), array(3, 3, 3, 5))
    assert flops == 2 * 2 * 5 * 3 * 22**2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "SAME"},
        {"stride": 2, "padding": "SAME"},
        {"stride": 2},
        {"dilation": 2},
        {"groups": 2, "padding": "SAME"},
    ],
    ids=str,
)
def test_gradients_of_a_convolution_cost_twice_the_convolution(options):
    apply = convolution(**options)
    shapes = array(2, 9, 8, 4), array(3, 3, 4 // options.get("groups", 1), 6)
    assert count_flops(with_gradients(apply), *shapes) == 3 * count_flops(apply, *shapes)


def test_recurrence_scales_with_its_length():
    cell = nn.RNN(nn.LSTMCell(8))
    variables = jax.eval_shape(cell.init, jax.random.key(0), array(2, 5, 3))

    def loss(variables, inputs):
        return jnp.sum(cell.apply(variables, inputs))

    for function in (loss, jax.grad(loss)):
        flops = [count_flops(function, variables, array(2, steps, 3)) for steps in (5, 10)]
        assert flops[1] == 2 * flops[0]
    # Four gates of eight units, from three inputs and eight hidden units.
    assert count_flops(loss, variables, array(2, 5, 3)) == 5 * 2 * 2 * (4 * 8) * (3 + 8)


def test_gradient_of_a_convnet_is_about_three_times_the_forward_pass():
    model = functional(ConvNet, num_outputs=10)
    images = array(4, 16, 16, 16)
    params, state = jax.eval_shape(model.init, jax.random.key(0), images)

    def loss(params, images):
        return jnp.sum(model.apply(params, state_zeros, images, train=True)[0])

    state_zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    ratio = count_flops(jax.grad(loss), params, images) / count_flops(loss, params, images)
    assert 2.5 < ratio < 3  # the first layer needs no gradient of its input


def test_condition_counts_its_most_expensive_branch_and_a_while_loop_once():
    def branches(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x, lambda x: x @ x @ x, x)

    def loop(x):
        return jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ x, x)

    assert count_flops(branches, array(3, 3)) == 2 * 2 * 27
    assert count_flops(loop, array(3, 3)) == 2 * 27


def test_jit_remat_and_custom_derivatives_are_looked_into():
    @jax.custom_jvp
    def square(x):
        return x @ x

    square.defjvp(lambda primals, tangents: (square(*primals), tangents[0]))

    @jax.custom_vjp
    def cube(x):
        return x @ x @ x

    cube.defvjp(lambda x: (cube(x), None), lambda _, g: (g,))

    def function(x):
        return cube(jax.checkpoint(square)(jax.jit(jnp.matmul)(x, x)))

    assert count_flops(function, array(3, 3)) == 4 * 2 * 27


def test_xla_agrees_where_nothing_is_scanned():
    model = functional(MLP, num_outputs=64, hidden=(256, 256))
    inputs = array(32, 128)
    params, state = jax.eval_shape(model.init, jax.random.key(0), inputs)

    def loss(params, inputs):
        return jnp.sum(model.apply(params, state, inputs, train=True)[0] ** 2)

    gradient = jax.grad(loss)
    analysis = jax.jit(gradient).lower(params, inputs).compile().cost_analysis()
    assert count_flops(gradient, params, inputs) == pytest.approx(analysis["flops"], rel=0.03)
