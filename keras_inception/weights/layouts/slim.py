"""The variable scopes of TF-Slim (tensorflow/models, research/slim/nets) and of FaceNet.

The names are the publisher's, with their slips: v1 has 0a twice in 5b, v3 has a Conv_1_0c_5x5, and
the 3 x 3 kernels of v3's Mixed_6a are called 1x1.
"""

from keras_inception.weights.layouts.layout import Layout

_SCOPES = ("{}", "{}/BatchNorm")

V1 = Layout(
    "slim/inception_v1",
    "InceptionV1",
    units="""
Conv2d_1a_7x7                                 stem_0
{Conv2d_2b_1x1,Conv2d_2c_3x3}                 stem_1_{0,1}
Mixed_3{b,c}/Branch_0/Conv2d_0a_1x1           inception_3{a,b}_branch0_0
Mixed_3{b,c}/Branch_1/Conv2d_{0a_1x1,0b_3x3}  inception_3{a,b}_branch1_{0,1}
Mixed_3{b,c}/Branch_2/Conv2d_{0a_1x1,0b_3x3}  inception_3{a,b}_branch2_{0,1}
Mixed_3{b,c}/Branch_3/Conv2d_0b_1x1           inception_3{a,b}_branch3_0
Mixed_4{b..f}/Branch_0/Conv2d_0a_1x1          inception_4{a..e}_branch0_0
Mixed_4{b..f}/Branch_1/Conv2d_{0a_1x1,0b_3x3} inception_4{a..e}_branch1_{0,1}
Mixed_4{b..f}/Branch_2/Conv2d_{0a_1x1,0b_3x3} inception_4{a..e}_branch2_{0,1}
Mixed_4{b..f}/Branch_3/Conv2d_0b_1x1          inception_4{a..e}_branch3_0
Mixed_5{b,c}/Branch_0/Conv2d_0a_1x1           inception_5{a,b}_branch0_0
Mixed_5{b,c}/Branch_1/Conv2d_{0a_1x1,0b_3x3}  inception_5{a,b}_branch1_{0,1}
Mixed_5b/Branch_2/Conv2d_{0a_1x1,0a_3x3}      inception_5a_branch2_{0,1}
Mixed_5c/Branch_2/Conv2d_{0a_1x1,0b_3x3}      inception_5b_branch2_{0,1}
Mixed_5{b,c}/Branch_3/Conv2d_0b_1x1           inception_5{a,b}_branch3_0
""",
    layers="Logits/Conv2d_0c_1x1 predictions",
    scheme=_SCOPES,
    prefix="InceptionV1/",
)

_V2_BODY = """
{Conv2d_2b_1x1,Conv2d_2c_3x3}                        stem_1_{0,1}
Mixed_3{b,c}/Branch_0/Conv2d_0a_1x1                  inception_3{a,b}_branch0_0
Mixed_3{b,c}/Branch_1/Conv2d_{0a_1x1,0b_3x3}         inception_3{a,b}_branch1_{0,1}
Mixed_3{b,c}/Branch_2/Conv2d_{0a_1x1,0b_3x3,0c_3x3}  inception_3{a,b}_branch2_{0,1,2}
Mixed_3{b,c}/Branch_3/Conv2d_0b_1x1                  inception_3{a,b}_branch3_0
Mixed_4a/Branch_0/Conv2d_{0a_1x1,1a_3x3}             inception_3c_branch0_{0,1}
Mixed_4a/Branch_1/Conv2d_{0a_1x1,0b_3x3,1a_3x3}      inception_3c_branch1_{0,1,2}
Mixed_4{b..e}/Branch_0/Conv2d_0a_1x1                 inception_4{a..d}_branch0_0
Mixed_4{b..e}/Branch_1/Conv2d_{0a_1x1,0b_3x3}        inception_4{a..d}_branch1_{0,1}
Mixed_4{b..e}/Branch_2/Conv2d_{0a_1x1,0b_3x3,0c_3x3} inception_4{a..d}_branch2_{0,1,2}
Mixed_4{b..e}/Branch_3/Conv2d_0b_1x1                 inception_4{a..d}_branch3_0
Mixed_5a/Branch_0/Conv2d_{0a_1x1,1a_3x3}             inception_4e_branch0_{0,1}
Mixed_5a/Branch_1/Conv2d_{0a_1x1,0b_3x3,1a_3x3}      inception_4e_branch1_{0,1,2}
Mixed_5{b,c}/Branch_0/Conv2d_0a_1x1                  inception_5{a,b}_branch0_0
Mixed_5{b,c}/Branch_1/Conv2d_{0a_1x1,0b_3x3}         inception_5{a,b}_branch1_{0,1}
Mixed_5{b,c}/Branch_2/Conv2d_{0a_1x1,0b_3x3,0c_3x3}  inception_5{a,b}_branch2_{0,1,2}
Mixed_5{b,c}/Branch_3/Conv2d_0b_1x1                  inception_5{a,b}_branch3_0
"""

# The separable stem has a bias and no BatchNorm.
V2 = Layout(
    "slim/inception_v2",
    "BNInception",
    units=_V2_BODY,
    layers="""
Conv2d_1a_7x7        stem_0_conv
Logits/Conv2d_1c_1x1 predictions
""",
    scheme=_SCOPES,
    prefix="InceptionV2/",
)

V2_PLAIN_STEM = Layout(
    "slim/inception_v2_plain_stem",
    "BNInception",
    units="Conv2d_1a_7x7 stem_0" + _V2_BODY,
    layers="Logits/Conv2d_1c_1x1 predictions",
    scheme=_SCOPES,
    prefix="InceptionV2/",
)

V3 = Layout(
    "slim/inception_v3",
    "InceptionV3",
    units="""
Conv2d_{1a,2a,2b}_3x3                                  stem_0_{0,1,2}
{Conv2d_3b_1x1,Conv2d_4a_3x3}                          stem_1_{0,1}
Mixed_5{b,c,d}/Branch_0/Conv2d_0a_1x1                  mixed{0,1,2}_branch0_0
Mixed_5{b,d}/Branch_1/Conv2d_{0a_1x1,0b_5x5}           mixed{0,2}_branch1_{0,1}
Mixed_5c/Branch_1/{Conv2d_0b_1x1,Conv_1_0c_5x5}        mixed1_branch1_{0,1}
Mixed_5{b,c,d}/Branch_2/Conv2d_{0a_1x1,0b_3x3,0c_3x3}  mixed{0,1,2}_branch2_{0,1,2}
Mixed_5{b,c,d}/Branch_3/Conv2d_0b_1x1                  mixed{0,1,2}_branch3_0
Mixed_6a/Branch_0/Conv2d_1a_1x1                        mixed3_branch0_0
Mixed_6a/Branch_1/Conv2d_{0a_1x1,0b_3x3,1a_1x1}        mixed3_branch1_{0,1,2}
Mixed_6{b..e}/Branch_0/Conv2d_0a_1x1                   mixed{4..7}_branch0_0
Mixed_6{b..e}/Branch_1/Conv2d_{0a_1x1,0b_1x7,0c_7x1}   mixed{4..7}_branch1_{0,1,2}
Mixed_6{b..e}/Branch_2/Conv2d_{0a_1x1,0b_7x1,0c_1x7,0d_7x1,0e_1x7} mixed{4..7}_branch2_{0..4}
Mixed_6{b..e}/Branch_3/Conv2d_0b_1x1                   mixed{4..7}_branch3_0
Mixed_7a/Branch_0/Conv2d_{0a_1x1,1a_3x3}               mixed8_branch0_{0,1}
Mixed_7a/Branch_1/Conv2d_{0a_1x1,0b_1x7,0c_7x1,1a_3x3} mixed8_branch1_{0..3}
Mixed_7{b,c}/Branch_0/Conv2d_0a_1x1                    mixed{9,10}_branch0_0
Mixed_7{b,c}/Branch_1/Conv2d_0a_1x1                    mixed{9,10}_branch1_0
Mixed_7b/Branch_1/Conv2d_{0b_1x3,0b_3x1}               mixed9_branch1{a,b}_0
Mixed_7c/Branch_1/Conv2d_{0b_1x3,0c_3x1}               mixed10_branch1{a,b}_0
Mixed_7{b,c}/Branch_2/Conv2d_{0a_1x1,0b_3x3}           mixed{9,10}_branch2_{0,1}
Mixed_7{b,c}/Branch_2/Conv2d_{0c_1x3,0d_3x1}           mixed{9,10}_branch2{a,b}_0
Mixed_7{b,c}/Branch_3/Conv2d_0b_1x1                    mixed{9,10}_branch3_0
AuxLogits/{Conv2d_1b_1x1,Conv2d_2a_5x5}                aux_{0,1}
""",
    layers="""
Logits/Conv2d_1c_1x1                                   predictions
AuxLogits/Conv2d_2b_1x1                                aux_logits
""",
    scheme=_SCOPES,
    prefix="InceptionV3/",
)

V4 = Layout(
    "slim/inception_v4",
    "InceptionV4",
    units="""
Conv2d_{1a,2a,2b}_3x3                                  stem_0_{0,1,2}
Mixed_3a/Branch_1/Conv2d_0a_3x3                        mixed_3a_branch1_0
Mixed_4a/Branch_0/Conv2d_{0a_1x1,1a_3x3}               mixed_4a_branch0_{0,1}
Mixed_4a/Branch_1/Conv2d_{0a_1x1,0b_1x7,0c_7x1,1a_3x3} mixed_4a_branch1_{0..3}
Mixed_5a/Branch_0/Conv2d_1a_3x3                        mixed_5a_branch0_0
Mixed_5{b..e}/Branch_0/Conv2d_0a_1x1                   mixed_5{b..e}_branch0_0
Mixed_5{b..e}/Branch_1/Conv2d_{0a_1x1,0b_3x3}          mixed_5{b..e}_branch1_{0,1}
Mixed_5{b..e}/Branch_2/Conv2d_{0a_1x1,0b_3x3,0c_3x3}   mixed_5{b..e}_branch2_{0,1,2}
Mixed_5{b..e}/Branch_3/Conv2d_0b_1x1                   mixed_5{b..e}_branch3_0
Mixed_6a/Branch_0/Conv2d_1a_3x3                        mixed_6a_branch0_0
Mixed_6a/Branch_1/Conv2d_{0a_1x1,0b_3x3,1a_3x3}        mixed_6a_branch1_{0,1,2}
Mixed_6{b..h}/Branch_0/Conv2d_0a_1x1                   mixed_6{b..h}_branch0_0
Mixed_6{b..h}/Branch_1/Conv2d_{0a_1x1,0b_1x7,0c_7x1}   mixed_6{b..h}_branch1_{0,1,2}
Mixed_6{b..h}/Branch_2/Conv2d_{0a_1x1,0b_7x1,0c_1x7,0d_7x1,0e_1x7} mixed_6{b..h}_branch2_{0..4}
Mixed_6{b..h}/Branch_3/Conv2d_0b_1x1                   mixed_6{b..h}_branch3_0
Mixed_7a/Branch_0/Conv2d_{0a_1x1,1a_3x3}               mixed_7a_branch0_{0,1}
Mixed_7a/Branch_1/Conv2d_{0a_1x1,0b_1x7,0c_7x1,1a_3x3} mixed_7a_branch1_{0..3}
Mixed_7{b..d}/Branch_0/Conv2d_0a_1x1                   mixed_7{b..d}_branch0_0
Mixed_7{b..d}/Branch_1/Conv2d_0a_1x1                   mixed_7{b..d}_branch1_0
Mixed_7{b..d}/Branch_1/Conv2d_{0b_1x3,0c_3x1}          mixed_7{b..d}_branch1{a,b}_0
Mixed_7{b..d}/Branch_2/Conv2d_{0a_1x1,0b_3x1,0c_1x3}   mixed_7{b..d}_branch2_{0,1,2}
Mixed_7{b..d}/Branch_2/Conv2d_{0d_1x3,0e_3x1}          mixed_7{b..d}_branch2{a,b}_0
Mixed_7{b..d}/Branch_3/Conv2d_0b_1x1                   mixed_7{b..d}_branch3_0
AuxLogits/{Conv2d_1b_1x1,Conv2d_2a}                    aux_{0,1}
""",
    layers="""
Logits/Logits                                          predictions
AuxLogits/Aux_logits                                   aux_logits
""",
    scheme=_SCOPES,
    prefix="InceptionV4/",
)

RESNET_V2 = Layout(
    "slim/inception_resnet_v2",
    "InceptionResNetV2",
    units="""
Conv2d_{1a,2a,2b}_3x3                                  stem_0_{0,1,2}
{Conv2d_3b_1x1,Conv2d_4a_3x3}                          stem_1_{0,1}
Mixed_5b/Branch_0/Conv2d_1x1                           mixed_5b_branch0_0
Mixed_5b/Branch_1/Conv2d_{0a_1x1,0b_5x5}               mixed_5b_branch1_{0,1}
Mixed_5b/Branch_2/Conv2d_{0a_1x1,0b_3x3,0c_3x3}        mixed_5b_branch2_{0,1,2}
Mixed_5b/Branch_3/Conv2d_0b_1x1                        mixed_5b_branch3_0
Repeat/block35_{1..10}/Branch_0/Conv2d_1x1             block35_{1..10}_branch0_0
Repeat/block35_{1..10}/Branch_1/Conv2d_{0a_1x1,0b_3x3} block35_{1..10}_branch1_{0,1}
Repeat/block35_{1..10}/Branch_2/Conv2d_{0a_1x1,0b_3x3,0c_3x3} block35_{1..10}_branch2_{0,1,2}
Mixed_6a/Branch_0/Conv2d_1a_3x3                        mixed_6a_branch0_0
Mixed_6a/Branch_1/Conv2d_{0a_1x1,0b_3x3,1a_3x3}        mixed_6a_branch1_{0,1,2}
Repeat_1/block17_{1..20}/Branch_0/Conv2d_1x1           block17_{1..20}_branch0_0
Repeat_1/block17_{1..20}/Branch_1/Conv2d_{0a_1x1,0b_1x7,0c_7x1} block17_{1..20}_branch1_{0,1,2}
Mixed_7a/Branch_{0,1}/Conv2d_{0a_1x1,1a_3x3}           mixed_7a_branch{0,1}_{0,1}
Mixed_7a/Branch_2/Conv2d_{0a_1x1,0b_3x3,1a_3x3}        mixed_7a_branch2_{0,1,2}
Repeat_2/block8_{1..9}/Branch_0/Conv2d_1x1             block8_{1..9}_branch0_0
Repeat_2/block8_{1..9}/Branch_1/Conv2d_{0a_1x1,0b_1x3,0c_3x1} block8_{1..9}_branch1_{0,1,2}
Block8/Branch_0/Conv2d_1x1                             block8_10_branch0_0
Block8/Branch_1/Conv2d_{0a_1x1,0b_1x3,0c_3x1}          block8_10_branch1_{0,1,2}
Conv2d_7b_1x1                                          conv_7b
AuxLogits/{Conv2d_1b_1x1,Conv2d_2a_5x5}                aux_{0,1}
""",
    layers="""
Repeat/block35_{1..10}/Conv2d_1x1                      block35_{1..10}_up
Repeat_1/block17_{1..20}/Conv2d_1x1                    block17_{1..20}_up
Repeat_2/block8_{1..9}/Conv2d_1x1                      block8_{1..9}_up
Block8/Conv2d_1x1                                      block8_10_up
Logits/Logits                                          predictions
AuxLogits/Logits                                       aux_logits
""",
    scheme=_SCOPES,
    prefix="InceptionResnetV2/",
)

# davidsandberg/facenet. The files' classifier over the training identities (`Logits`) stands
# outside of the network's scope and is left out as a head of one's own is.
FACENET = Layout(
    "facenet/inception_resnet_v1",
    "InceptionResNetV1",
    units="""
Conv2d_{1a,2a,2b}_3x3                                 stem_0_{0,1,2}
{Conv2d_3b_1x1,Conv2d_4a_3x3,Conv2d_4b_3x3}           stem_1_{0,1,2}
Repeat/block35_{1..5}/Branch_0/Conv2d_1x1             block35_{1..5}_branch0_0
Repeat/block35_{1..5}/Branch_1/Conv2d_{0a_1x1,0b_3x3} block35_{1..5}_branch1_{0,1}
Repeat/block35_{1..5}/Branch_2/Conv2d_{0a_1x1,0b_3x3,0c_3x3} block35_{1..5}_branch2_{0,1,2}
Mixed_6a/Branch_0/Conv2d_1a_3x3                       mixed_6a_branch0_0
Mixed_6a/Branch_1/Conv2d_{0a_1x1,0b_3x3,1a_3x3}       mixed_6a_branch1_{0,1,2}
Repeat_1/block17_{1..10}/Branch_0/Conv2d_1x1          block17_{1..10}_branch0_0
Repeat_1/block17_{1..10}/Branch_1/Conv2d_{0a_1x1,0b_1x7,0c_7x1} block17_{1..10}_branch1_{0,1,2}
Mixed_7a/Branch_{0,1}/Conv2d_{0a_1x1,1a_3x3}          mixed_7a_branch{0,1}_{0,1}
Mixed_7a/Branch_2/Conv2d_{0a_1x1,0b_3x3,1a_3x3}       mixed_7a_branch2_{0,1,2}
Repeat_2/block8_{1..5}/Branch_0/Conv2d_1x1            block8_{1..5}_branch0_0
Repeat_2/block8_{1..5}/Branch_1/Conv2d_{0a_1x1,0b_1x3,0c_3x1} block8_{1..5}_branch1_{0,1,2}
Block8/Branch_0/Conv2d_1x1                            block8_6_branch0_0
Block8/Branch_1/Conv2d_{0a_1x1,0b_1x3,0c_3x1}         block8_6_branch1_{0,1,2}
""",
    layers="""
Repeat/block35_{1..5}/Conv2d_1x1                      block35_{1..5}_up
Repeat_1/block17_{1..10}/Conv2d_1x1                   block17_{1..10}_up
Repeat_2/block8_{1..5}/Conv2d_1x1                     block8_{1..5}_up
Block8/Conv2d_1x1                                     block8_6_up
Bottleneck                                            bottleneck
Bottleneck/BatchNorm                                  bottleneck_bn
""",
    scheme=_SCOPES,
    prefix="InceptionResnetV1/",
)

LAYOUTS = (V1, V2, V2_PLAIN_STEM, V3, V4, RESNET_V2, FACENET)
