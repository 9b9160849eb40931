"""The layer names of keras.applications.

Most layers have automatic names, numbered in the order in which they were created. The numbers go
on from whatever the process had built before; `recognise` counts them from 0 before it looks here.
"""

from keras_inception.weights.layouts.layout import Layout

_NUMBERS = ("conv2d_{}", "batch_normalization_{}")
# The order in which v3's blocks on 35 x 35, on 17 x 17 and on 8 x 8 create their layers.
_A = "branch0_0,branch1_0,branch1_1,branch2_0,branch2_1,branch2_2,branch3_0"
_B = "branch0_0,branch1_0,branch1_1,branch1_2,branch2_0,branch2_1,branch2_2,branch2_3,branch2_4"
_C = "branch0_0,branch1_0,branch1a_0,branch1b_0,branch2_0,branch2_1,branch2a_0,branch2b_0"

V3 = Layout(
    "keras/inception_v3",
    "InceptionV3",
    units=f"""
{{0..2}}    stem_0_{{0..2}}
{{3,4}}     stem_1_{{0,1}}
{{5..11}}   mixed0_{{{_A}}}
{{12..18}}  mixed1_{{{_A}}}
{{19..25}}  mixed2_{{{_A}}}
{{26..29}}  mixed3_{{branch0_0,branch1_0,branch1_1,branch1_2}}
{{30..39}}  mixed4_{{{_B},branch3_0}}
{{40..49}}  mixed5_{{{_B},branch3_0}}
{{50..59}}  mixed6_{{{_B},branch3_0}}
{{60..69}}  mixed7_{{{_B},branch3_0}}
{{70..75}}  mixed8_{{branch0_0,branch0_1,branch1_0,branch1_1,branch1_2,branch1_3}}
{{76..84}}  mixed9_{{{_C},branch3_0}}
{{85..93}}  mixed10_{{{_C},branch3_0}}
""",
    layers="predictions predictions",
    scheme=_NUMBERS,
)


def _blocks(first: int, count: int, name: str, branches: str) -> str:
    """Rows for the residual blocks 1, 2, ..., whose layers' numbers start at `first`."""
    step = len(branches.split(","))
    return "\n".join(
        f"{{{first + i * step}..{first + (i + 1) * step - 1}}} {name}_{i + 1}_{{{branches}}}"
        for i in range(count)
    )


_35 = "branch0_0,branch1_0,branch1_1,branch2_0,branch2_1,branch2_2"
_17_AND_8 = "branch0_0,branch1_0,branch1_1,branch1_2"

RESNET_V2 = Layout(
    "keras/inception_resnet_v2",
    "InceptionResNetV2",
    units=f"""
{{0..2}}     stem_0_{{0..2}}
{{3,4}}      stem_1_{{0,1}}
{{5..11}}    mixed_5b_{{{_A}}}
{_blocks(12, 10, "block35", _35)}
{{72..75}}   mixed_6a_{{branch0_0,branch1_0,branch1_1,branch1_2}}
{_blocks(76, 20, "block17", _17_AND_8)}
{{156..162}} mixed_7a_{{branch0_0,branch0_1,branch1_0,branch1_1,branch2_0,branch2_1,branch2_2}}
{_blocks(163, 10, "block8", _17_AND_8)}
""",
    layers="""
block35_{1..10}_conv block35_{1..10}_up
block17_{1..20}_conv block17_{1..20}_up
block8_{1..10}_conv  block8_{1..10}_up
conv_7b              conv_7b_conv
conv_7b_bn           conv_7b_bn
predictions          predictions
""",
    scheme=_NUMBERS,
)

LAYOUTS = (V3, RESNET_V2)
