"""The layer names of osmr/imgclsmob: pytorchcv (.pth) and its twin tf2cv (.tf2.h5).

Both give their layers nearly the same names. tf2cv's nested Keras names, such as
`features/init_block/conv1`, are written with dots here.
"""

import dataclasses

from keras_inception.weights.layouts.layout import Layout

BN_INCEPTION = Layout(
    "pytorchcv/bninception",
    "BNInception",
    units="""
features.init_block.conv1                            stem_0
features.init_block.conv2.conv{1,2}                  stem_1_{0,1}
features.stage1.unit{1,2}.branches.branch1           inception_3{a,b}_branch0_0
features.stage1.unit{1,2}.branches.branch2.conv{1,2} inception_3{a,b}_branch1_{0,1}
features.stage1.unit{1,2}.branches.branch3.conv{1..3} inception_3{a,b}_branch2_{0..2}
features.stage1.unit{1,2}.branches.branch4.conv      inception_3{a,b}_branch3_0
features.stage{2,3}.unit1.branches.branch1.conv{1,2} inception_{3c,4e}_branch0_{0,1}
features.stage{2,3}.unit1.branches.branch2.conv{1..3} inception_{3c,4e}_branch1_{0..2}
features.stage2.unit{2..5}.branches.branch1          inception_4{a..d}_branch0_0
features.stage2.unit{2..5}.branches.branch2.conv{1,2} inception_4{a..d}_branch1_{0,1}
features.stage2.unit{2..5}.branches.branch3.conv{1..3} inception_4{a..d}_branch2_{0..2}
features.stage2.unit{2..5}.branches.branch4.conv     inception_4{a..d}_branch3_0
features.stage3.unit{2,3}.branches.branch1           inception_5{a,b}_branch0_0
features.stage3.unit{2,3}.branches.branch2.conv{1,2} inception_5{a,b}_branch1_{0,1}
features.stage3.unit{2,3}.branches.branch3.conv{1..3} inception_5{a,b}_branch2_{0..2}
features.stage3.unit{2,3}.branches.branch4.conv      inception_5{a,b}_branch3_0
""",
    layers="output predictions",
)

V3 = Layout(
    "pytorchcv/inceptionv3",
    "InceptionV3",
    units="""
features.init_block.conv{1..3}                                stem_0_{0..2}
features.init_block.conv{4,5}                                 stem_1_{0,1}
features.stage1.unit{1..3}.branches.branch1.conv              mixed{0..2}_branch0_0
features.stage1.unit{1..3}.branches.branch2.conv_list.conv{1,2}  mixed{0..2}_branch1_{0,1}
features.stage1.unit{1..3}.branches.branch3.conv_list.conv{1..3} mixed{0..2}_branch2_{0..2}
features.stage1.unit{1..3}.branches.branch4.conv              mixed{0..2}_branch3_0
features.stage2.unit1.branches.branch1.conv_list.conv1        mixed3_branch0_0
features.stage2.unit1.branches.branch2.conv_list.conv{1..3}   mixed3_branch1_{0..2}
features.stage2.unit{2..5}.branches.branch1.conv              mixed{4..7}_branch0_0
features.stage2.unit{2..5}.branches.branch2.conv_list.conv{1..3} mixed{4..7}_branch1_{0..2}
features.stage2.unit{2..5}.branches.branch3.conv_list.conv{1..5} mixed{4..7}_branch2_{0..4}
features.stage2.unit{2..5}.branches.branch4.conv              mixed{4..7}_branch3_0
features.stage3.unit1.branches.branch1.conv_list.conv{1,2}    mixed8_branch0_{0,1}
features.stage3.unit1.branches.branch2.conv_list.conv{1..4}   mixed8_branch1_{0..3}
features.stage3.unit{2,3}.branches.branch1.conv               mixed{9,10}_branch0_0
features.stage3.unit{2,3}.branches.branch2.conv_list.conv1    mixed{9,10}_branch1_0
features.stage3.unit{2,3}.branches.branch2.conv{1x3,3x1}      mixed{9,10}_branch1{a,b}_0
features.stage3.unit{2,3}.branches.branch3.conv_list.conv{1,2} mixed{9,10}_branch2_{0,1}
features.stage3.unit{2,3}.branches.branch3.conv{1x3,3x1}      mixed{9,10}_branch2{a,b}_0
features.stage3.unit{2,3}.branches.branch4.conv               mixed{9,10}_branch3_0
""",
    layers="output.fc predictions",
)

V4 = Layout(
    "pytorchcv/inceptionv4",
    "InceptionV4",
    units="""
features.init_block.conv{1..3}                                stem_0_{0..2}
features.init_block.block1.branches.branch2.conv              mixed_3a_branch1_0
features.init_block.block2.branches.branch1.conv_list.conv{1,2}  mixed_4a_branch0_{0,1}
features.init_block.block2.branches.branch2.conv_list.conv{1..4} mixed_4a_branch1_{0..3}
features.init_block.block3.branches.branch1.conv              mixed_5a_branch0_0
features.stage1.unit{1..4}.branches.branch1.conv              mixed_5{b..e}_branch0_0
features.stage1.unit{1..4}.branches.branch2.conv_list.conv{1,2}  mixed_5{b..e}_branch1_{0,1}
features.stage1.unit{1..4}.branches.branch3.conv_list.conv{1..3} mixed_5{b..e}_branch2_{0..2}
features.stage1.unit{1..4}.branches.branch4.conv              mixed_5{b..e}_branch3_0
features.stage2.unit1.branches.branch1.conv_list.conv1        mixed_6a_branch0_0
features.stage2.unit1.branches.branch2.conv_list.conv{1..3}   mixed_6a_branch1_{0..2}
features.stage2.unit{2..8}.branches.branch1.conv              mixed_6{b..h}_branch0_0
features.stage2.unit{2..8}.branches.branch2.conv_list.conv{1..3} mixed_6{b..h}_branch1_{0..2}
features.stage2.unit{2..8}.branches.branch3.conv_list.conv{1..5} mixed_6{b..h}_branch2_{0..4}
features.stage2.unit{2..8}.branches.branch4.conv              mixed_6{b..h}_branch3_0
features.stage3.unit1.branches.branch1.conv_list.conv{1,2}    mixed_7a_branch0_{0,1}
features.stage3.unit1.branches.branch2.conv_list.conv{1..4}   mixed_7a_branch1_{0..3}
features.stage3.unit{2..4}.branches.branch1.conv              mixed_7{b..d}_branch0_0
features.stage3.unit{2..4}.branches.branch2.conv_list.conv1   mixed_7{b..d}_branch1_0
features.stage3.unit{2..4}.branches.branch2.conv{1x3,3x1}     mixed_7{b..d}_branch1{a,b}_0
features.stage3.unit{2..4}.branches.branch3.conv_list.conv{1..3} mixed_7{b..d}_branch2_{0..2}
features.stage3.unit{2..4}.branches.branch3.conv{1x3,3x1}     mixed_7{b..d}_branch2{a,b}_0
features.stage3.unit{2..4}.branches.branch4.conv              mixed_7{b..d}_branch3_0
""",
    layers="output.fc predictions",
)

RESNET_V1 = Layout(
    "pytorchcv/inceptionresnetv1",
    "InceptionResNetV1",
    units="""
features.init_block.conv{1..3}                                stem_0_{0..2}
features.init_block.conv{4..6}                                stem_1_{0..2}
features.stage1.unit{1..5}.branches.branch1.conv              block35_{1..5}_branch0_0
features.stage1.unit{1..5}.branches.branch2.conv_list.conv{1,2}  block35_{1..5}_branch1_{0,1}
features.stage1.unit{1..5}.branches.branch3.conv_list.conv{1..3} block35_{1..5}_branch2_{0..2}
features.stage2.unit1.branches.branch1.conv_list.conv1        mixed_6a_branch0_0
features.stage2.unit1.branches.branch2.conv_list.conv{1..3}   mixed_6a_branch1_{0..2}
features.stage2.unit{2..11}.branches.branch1.conv             block17_{1..10}_branch0_0
features.stage2.unit{2..11}.branches.branch2.conv_list.conv{1..3} block17_{1..10}_branch1_{0..2}
features.stage3.unit1.branches.branch{1,2}.conv_list.conv{1,2} mixed_7a_branch{0,1}_{0,1}
features.stage3.unit1.branches.branch3.conv_list.conv{1..3}   mixed_7a_branch2_{0..2}
features.stage3.unit{2..7}.branches.branch1.conv              block8_{1..6}_branch0_0
features.stage3.unit{2..7}.branches.branch2.conv_list.conv{1..3} block8_{1..6}_branch1_{0..2}
""",
    layers="""
features.stage1.unit{1..5}.conv  block35_{1..5}_up
features.stage2.unit{2..11}.conv block17_{1..10}_up
features.stage3.unit{2..7}.conv  block8_{1..6}_up
output.fc1                       bottleneck
output.bn                        bottleneck_bn
output.fc2                       predictions
""",
)

RESNET_V2 = Layout(
    "pytorchcv/inceptionresnetv2",
    "InceptionResNetV2",
    units="""
features.init_block.conv{1..3}                                stem_0_{0..2}
features.init_block.conv{4,5}                                 stem_1_{0,1}
features.init_block.block.branches.branch1.conv               mixed_5b_branch0_0
features.init_block.block.branches.branch2.conv_list.conv{1,2}  mixed_5b_branch1_{0,1}
features.init_block.block.branches.branch3.conv_list.conv{1..3} mixed_5b_branch2_{0..2}
features.init_block.block.branches.branch4.conv               mixed_5b_branch3_0
features.stage1.unit{1..10}.branches.branch1.conv             block35_{1..10}_branch0_0
features.stage1.unit{1..10}.branches.branch2.conv_list.conv{1,2}  block35_{1..10}_branch1_{0,1}
features.stage1.unit{1..10}.branches.branch3.conv_list.conv{1..3} block35_{1..10}_branch2_{0..2}
features.stage2.unit1.branches.branch1.conv_list.conv1        mixed_6a_branch0_0
features.stage2.unit1.branches.branch2.conv_list.conv{1..3}   mixed_6a_branch1_{0..2}
features.stage2.unit{2..21}.branches.branch1.conv             block17_{1..20}_branch0_0
features.stage2.unit{2..21}.branches.branch2.conv_list.conv{1..3} block17_{1..20}_branch1_{0..2}
features.stage3.unit1.branches.branch{1,2}.conv_list.conv{1,2} mixed_7a_branch{0,1}_{0,1}
features.stage3.unit1.branches.branch3.conv_list.conv{1..3}   mixed_7a_branch2_{0..2}
features.stage3.unit{2..11}.branches.branch1.conv             block8_{1..10}_branch0_0
features.stage3.unit{2..11}.branches.branch2.conv_list.conv{1..3} block8_{1..10}_branch1_{0..2}
features.final_conv                                           conv_7b
""",
    layers="""
features.stage1.unit{1..10}.conv block35_{1..10}_up
features.stage2.unit{2..21}.conv block17_{1..20}_up
features.stage3.unit{2..11}.conv block8_{1..10}_up
output.fc                        predictions
""",
)


def _tf2cv(layout: Layout) -> Layout:
    return dataclasses.replace(
        layout,
        name=layout.name.replace("pytorchcv", "tf2cv"),
        units=layout.units.replace("final_conv", "final_block"),
        layers=layout.layers.replace("output", "output1"),
        repeats_merged=True,
    )


_PYTORCHCV = (BN_INCEPTION, V3, V4, RESNET_V1, RESNET_V2)
LAYOUTS = (*_PYTORCHCV, *map(_tf2cv, _PYTORCHCV))
