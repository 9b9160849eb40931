"""The layer names of BVLC's GoogLeNet, which is the paper's own network: its deploy.prototxt."""

from keras_inception.weights.layouts.layout import Layout

GOOGLENET = Layout(
    "caffe/googlenet",
    "InceptionV1",
    # There is no BatchNorm: a unit is a convolution with a bias.
    units="""
conv1/7x7_s2                              stem_0
conv2/{3x3_reduce,3x3}                    stem_1_{0,1}
inception_3{a,b}/1x1                      inception_3{a,b}_branch0_0
inception_3{a,b}/{3x3_reduce,3x3}         inception_3{a,b}_branch1_{0,1}
inception_3{a,b}/{5x5_reduce,5x5}         inception_3{a,b}_branch2_{0,1}
inception_3{a,b}/pool_proj                inception_3{a,b}_branch3_0
inception_4{a..e}/1x1                     inception_4{a..e}_branch0_0
inception_4{a..e}/{3x3_reduce,3x3}        inception_4{a..e}_branch1_{0,1}
inception_4{a..e}/{5x5_reduce,5x5}        inception_4{a..e}_branch2_{0,1}
inception_4{a..e}/pool_proj               inception_4{a..e}_branch3_0
inception_5{a,b}/1x1                      inception_5{a,b}_branch0_0
inception_5{a,b}/{3x3_reduce,3x3}         inception_5{a,b}_branch1_{0,1}
inception_5{a,b}/{5x5_reduce,5x5}         inception_5{a,b}_branch2_{0,1}
inception_5{a,b}/pool_proj                inception_5{a,b}_branch3_0
loss{1,2}/conv                            aux{1,2}_0
""",
    layers="""
loss{1,2}/fc         aux{1,2}_1
loss{1,2}/classifier aux{1,2}_logits
loss3/classifier     predictions
""",
    scheme=("{}", "{}/bn"),
    bgr=True,
    flattened={"aux1_1": (128, 4, 4), "aux2_1": (128, 4, 4)},
)

LAYOUTS = (GOOGLENET,)
