"""The layer names of the torch ports: torchvision, timm, Cadene and FaceNet-PyTorch.

timm's and pytorch-fid's v3 have torchvision's names; timm's v4 and Inception-ResNet v2 have
Cadene's.
"""

from keras_inception.weights.layouts.layout import Layout

GOOGLENET = Layout(
    "torchvision/googlenet",
    "InceptionV1",
    units="""
conv1                          stem_0
conv{2,3}                      stem_1_{0,1}
inception3{a,b}.branch1        inception_3{a,b}_branch0_0
inception3{a,b}.branch2.{0,1}  inception_3{a,b}_branch1_{0,1}
inception3{a,b}.branch3.{0,1}  inception_3{a,b}_branch2_{0,1}
inception3{a,b}.branch4.1      inception_3{a,b}_branch3_0
inception4{a..e}.branch1       inception_4{a..e}_branch0_0
inception4{a..e}.branch2.{0,1} inception_4{a..e}_branch1_{0,1}
inception4{a..e}.branch3.{0,1} inception_4{a..e}_branch2_{0,1}
inception4{a..e}.branch4.1     inception_4{a..e}_branch3_0
inception5{a,b}.branch1        inception_5{a,b}_branch0_0
inception5{a,b}.branch2.{0,1}  inception_5{a,b}_branch1_{0,1}
inception5{a,b}.branch3.{0,1}  inception_5{a,b}_branch2_{0,1}
inception5{a,b}.branch4.1      inception_5{a,b}_branch3_0
aux{1,2}.conv                  aux{1,2}_0
""",
    layers="""
aux{1,2}.fc1 aux{1,2}_1
aux{1,2}.fc2 aux{1,2}_logits
fc           predictions
""",
    flattened={"aux1_1": (128, 4, 4), "aux2_1": (128, 4, 4)},
)

V3 = Layout(
    "torchvision/inception_v3",
    "InceptionV3",
    units="""
Conv2d_{1a,2a,2b}_3x3              stem_0_{0,1,2}
{Conv2d_3b_1x1,Conv2d_4a_3x3}      stem_1_{0,1}
Mixed_5{b,c,d}.branch1x1           mixed{0,1,2}_branch0_0
Mixed_5{b,c,d}.branch5x5_{1,2}     mixed{0,1,2}_branch1_{0,1}
Mixed_5{b,c,d}.branch3x3dbl_{1..3} mixed{0,1,2}_branch2_{0..2}
Mixed_5{b,c,d}.branch_pool         mixed{0,1,2}_branch3_0
Mixed_6a.branch3x3                 mixed3_branch0_0
Mixed_6a.branch3x3dbl_{1..3}       mixed3_branch1_{0..2}
Mixed_6{b..e}.branch1x1            mixed{4..7}_branch0_0
Mixed_6{b..e}.branch7x7_{1..3}     mixed{4..7}_branch1_{0..2}
Mixed_6{b..e}.branch7x7dbl_{1..5}  mixed{4..7}_branch2_{0..4}
Mixed_6{b..e}.branch_pool          mixed{4..7}_branch3_0
Mixed_7a.branch3x3_{1,2}           mixed8_branch0_{0,1}
Mixed_7a.branch7x7x3_{1..4}        mixed8_branch1_{0..3}
Mixed_7{b,c}.branch1x1             mixed{9,10}_branch0_0
Mixed_7{b,c}.branch3x3_1           mixed{9,10}_branch1_0
Mixed_7{b,c}.branch3x3_2{a,b}      mixed{9,10}_branch1{a,b}_0
Mixed_7{b,c}.branch3x3dbl_{1,2}    mixed{9,10}_branch2_{0,1}
Mixed_7{b,c}.branch3x3dbl_3{a,b}   mixed{9,10}_branch2{a,b}_0
Mixed_7{b,c}.branch_pool           mixed{9,10}_branch3_0
AuxLogits.conv{0,1}                aux_{0,1}
""",
    layers="""
fc           predictions
AuxLogits.fc aux_logits
""",
)

V4 = Layout(
    "cadene/inception_v4",
    "InceptionV4",
    units="""
features.{0..2}                  stem_0_{0..2}
features.3.conv                  mixed_3a_branch1_0
features.4.branch0.{0,1}         mixed_4a_branch0_{0,1}
features.4.branch1.{0..3}        mixed_4a_branch1_{0..3}
features.5.conv                  mixed_5a_branch0_0
features.{6..9}.branch0          mixed_5{b..e}_branch0_0
features.{6..9}.branch1.{0,1}    mixed_5{b..e}_branch1_{0,1}
features.{6..9}.branch2.{0..2}   mixed_5{b..e}_branch2_{0..2}
features.{6..9}.branch3.1        mixed_5{b..e}_branch3_0
features.10.branch0              mixed_6a_branch0_0
features.10.branch1.{0..2}       mixed_6a_branch1_{0..2}
features.{11..17}.branch0        mixed_6{b..h}_branch0_0
features.{11..17}.branch1.{0..2} mixed_6{b..h}_branch1_{0..2}
features.{11..17}.branch2.{0..4} mixed_6{b..h}_branch2_{0..4}
features.{11..17}.branch3.1      mixed_6{b..h}_branch3_0
features.18.branch0.{0,1}        mixed_7a_branch0_{0,1}
features.18.branch1.{0..3}       mixed_7a_branch1_{0..3}
features.{19..21}.branch0        mixed_7{b..d}_branch0_0
features.{19..21}.branch1_0      mixed_7{b..d}_branch1_0
features.{19..21}.branch1_1{a,b} mixed_7{b..d}_branch1{a,b}_0
features.{19..21}.branch2_{0..2} mixed_7{b..d}_branch2_{0..2}
features.{19..21}.branch2_3{a,b} mixed_7{b..d}_branch2{a,b}_0
features.{19..21}.branch3.1      mixed_7{b..d}_branch3_0
""",
    layers="last_linear predictions",
)

RESNET_V2 = Layout(
    "cadene/inception_resnet_v2",
    "InceptionResNetV2",
    units="""
conv2d_{1a,2a,2b}                stem_0_{0,1,2}
conv2d_{3b,4a}                   stem_1_{0,1}
mixed_5b.branch0                 mixed_5b_branch0_0
mixed_5b.branch1.{0,1}           mixed_5b_branch1_{0,1}
mixed_5b.branch2.{0..2}          mixed_5b_branch2_{0..2}
mixed_5b.branch3.1               mixed_5b_branch3_0
repeat.{0..9}.branch0            block35_{1..10}_branch0_0
repeat.{0..9}.branch1.{0,1}      block35_{1..10}_branch1_{0,1}
repeat.{0..9}.branch2.{0..2}     block35_{1..10}_branch2_{0..2}
mixed_6a.branch0                 mixed_6a_branch0_0
mixed_6a.branch1.{0..2}          mixed_6a_branch1_{0..2}
repeat_1.{0..19}.branch0         block17_{1..20}_branch0_0
repeat_1.{0..19}.branch1.{0..2}  block17_{1..20}_branch1_{0..2}
mixed_7a.branch{0,1}.{0,1}       mixed_7a_branch{0,1}_{0,1}
mixed_7a.branch2.{0..2}          mixed_7a_branch2_{0..2}
repeat_2.{0..8}.branch0          block8_{1..9}_branch0_0
repeat_2.{0..8}.branch1.{0..2}   block8_{1..9}_branch1_{0..2}
block8.branch0                   block8_10_branch0_0
block8.branch1.{0..2}            block8_10_branch1_{0..2}
conv2d_7b                        conv_7b
""",
    layers="""
repeat.{0..9}.conv2d    block35_{1..10}_up
repeat_1.{0..19}.conv2d block17_{1..20}_up
repeat_2.{0..8}.conv2d  block8_{1..9}_up
block8.conv2d           block8_10_up
last_linear             predictions
classif                 predictions
""",
)

# It was trained on B, G, R images, as Caffe's networks were, and its convolutions have biases.
BN_INCEPTION = Layout(
    "cadene/bn_inception",
    "BNInception",
    units="""
conv1_7x7_s2                                stem_0
{conv2_3x3_reduce,conv2_3x3}                stem_1_{0,1}
inception_3{a,b}_1x1                        inception_3{a,b}_branch0_0
inception_3{a,b}_{3x3_reduce,3x3}           inception_3{a,b}_branch1_{0,1}
inception_3{a,b}_double_3x3_{reduce,1,2}    inception_3{a,b}_branch2_{0,1,2}
inception_3{a,b}_pool_proj                  inception_3{a,b}_branch3_0
inception_{3c,4e}_{3x3_reduce,3x3}          inception_{3c,4e}_branch0_{0,1}
inception_{3c,4e}_double_3x3_{reduce,1,2}   inception_{3c,4e}_branch1_{0,1,2}
inception_4{a..d}_1x1                       inception_4{a..d}_branch0_0
inception_4{a..d}_{3x3_reduce,3x3}          inception_4{a..d}_branch1_{0,1}
inception_4{a..d}_double_3x3_{reduce,1,2}   inception_4{a..d}_branch2_{0,1,2}
inception_4{a..d}_pool_proj                 inception_4{a..d}_branch3_0
inception_5{a,b}_1x1                        inception_5{a,b}_branch0_0
inception_5{a,b}_{3x3_reduce,3x3}           inception_5{a,b}_branch1_{0,1}
inception_5{a,b}_double_3x3_{reduce,1,2}    inception_5{a,b}_branch2_{0,1,2}
inception_5{a,b}_pool_proj                  inception_5{a,b}_branch3_0
""",
    layers="last_linear predictions",
    scheme=("{}", "{}_bn"),
    bgr=True,
)

FACENET = Layout(
    "facenet_pytorch/inception_resnet_v1",
    "InceptionResNetV1",
    units="""
conv2d_{1a,2a,2b}               stem_0_{0,1,2}
conv2d_{3b,4a,4b}               stem_1_{0,1,2}
repeat_1.{0..4}.branch0         block35_{1..5}_branch0_0
repeat_1.{0..4}.branch1.{0,1}   block35_{1..5}_branch1_{0,1}
repeat_1.{0..4}.branch2.{0..2}  block35_{1..5}_branch2_{0..2}
mixed_6a.branch0                mixed_6a_branch0_0
mixed_6a.branch1.{0..2}         mixed_6a_branch1_{0..2}
repeat_2.{0..9}.branch0         block17_{1..10}_branch0_0
repeat_2.{0..9}.branch1.{0..2}  block17_{1..10}_branch1_{0..2}
mixed_7a.branch{0,1}.{0,1}      mixed_7a_branch{0,1}_{0,1}
mixed_7a.branch2.{0..2}         mixed_7a_branch2_{0..2}
repeat_3.{0..4}.branch0         block8_{1..5}_branch0_0
repeat_3.{0..4}.branch1.{0..2}  block8_{1..5}_branch1_{0..2}
block8.branch0                  block8_6_branch0_0
block8.branch1.{0..2}           block8_6_branch1_{0..2}
""",
    layers="""
repeat_1.{0..4}.conv2d block35_{1..5}_up
repeat_2.{0..9}.conv2d block17_{1..10}_up
repeat_3.{0..4}.conv2d block8_{1..5}_up
block8.conv2d          block8_6_up
last_linear            bottleneck
last_bn                bottleneck_bn
logits                 predictions
""",
)

LAYOUTS = (GOOGLENET, V3, V4, RESNET_V2, BN_INCEPTION, FACENET)
