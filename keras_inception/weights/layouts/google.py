"""The node names of Google's frozen graphs of 2015: DeepDream's network, and the tutorial's v3."""

from keras_inception.weights.layouts.layout import Layout

# inception5h, without BatchNorm: a unit is a convolution with a bias.
V1 = Layout(
    "google/inception_v1_2015",
    "InceptionV1",
    units="""
conv2d0                            stem_0
conv2d{1,2}                        stem_1_{0,1}
mixed3{a,b}_1x1                    inception_3{a,b}_branch0_0
mixed3{a,b}_{3x3_bottleneck,3x3}   inception_3{a,b}_branch1_{0,1}
mixed3{a,b}_{5x5_bottleneck,5x5}   inception_3{a,b}_branch2_{0,1}
mixed3{a,b}_pool_reduce            inception_3{a,b}_branch3_0
mixed4{a..e}_1x1                   inception_4{a..e}_branch0_0
mixed4{a..e}_{3x3_bottleneck,3x3}  inception_4{a..e}_branch1_{0,1}
mixed4{a..e}_{5x5_bottleneck,5x5}  inception_4{a..e}_branch2_{0,1}
mixed4{a..e}_pool_reduce           inception_4{a..e}_branch3_0
mixed5{a,b}_1x1                    inception_5{a,b}_branch0_0
mixed5{a,b}_{3x3_bottleneck,3x3}   inception_5{a,b}_branch1_{0,1}
mixed5{a,b}_{5x5_bottleneck,5x5}   inception_5{a,b}_branch2_{0,1}
mixed5{a,b}_pool_reduce            inception_5{a,b}_branch3_0
head{0,1}_bottleneck               aux{1,2}_0
""",
    layers="""
nn{0,1}      aux{1,2}_1
softmax{0,1} aux{1,2}_logits
softmax2     predictions
""",
    scheme=("{}", "{}/bn"),
)

V3 = Layout(
    "google/inception_v3_2015",
    "InceptionV3",
    units="""
{conv,conv_1,conv_2}                             stem_0_{0,1,2}
{conv_3,conv_4}                                  stem_1_{0,1}
{mixed,mixed_1,mixed_2}/conv                     mixed{0,1,2}_branch0_0
{mixed,mixed_1,mixed_2}/tower/{conv,conv_1}      mixed{0,1,2}_branch1_{0,1}
{mixed,mixed_1,mixed_2}/tower_1/{conv,conv_1,conv_2} mixed{0,1,2}_branch2_{0,1,2}
{mixed,mixed_1,mixed_2}/tower_2/conv             mixed{0,1,2}_branch3_0
mixed_3/conv                                     mixed3_branch0_0
mixed_3/tower/{conv,conv_1,conv_2}               mixed3_branch1_{0,1,2}
mixed_{4..7}/conv                                mixed{4..7}_branch0_0
mixed_{4..7}/tower/{conv,conv_1,conv_2}          mixed{4..7}_branch1_{0,1,2}
mixed_{4..7}/tower_1/{conv,conv_1,conv_2,conv_3,conv_4} mixed{4..7}_branch2_{0..4}
mixed_{4..7}/tower_2/conv                        mixed{4..7}_branch3_0
mixed_8/tower/{conv,conv_1}                      mixed8_branch0_{0,1}
mixed_8/tower_1/{conv,conv_1,conv_2,conv_3}      mixed8_branch1_{0..3}
mixed_{9,10}/conv                                mixed{9,10}_branch0_0
mixed_{9,10}/tower/conv                          mixed{9,10}_branch1_0
mixed_{9,10}/tower/mixed/{conv,conv_1}           mixed{9,10}_branch1{a,b}_0
mixed_{9,10}/tower_1/{conv,conv_1}               mixed{9,10}_branch2_{0,1}
mixed_{9,10}/tower_1/mixed/{conv,conv_1}         mixed{9,10}_branch2{a,b}_0
mixed_{9,10}/tower_2/conv                        mixed{9,10}_branch3_0
""",
    layers="softmax predictions",
    scheme=("{}", "{}/batchnorm"),
)

LAYOUTS = (V1, V3)
