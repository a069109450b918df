"""The 40 networks of keras.applications (Keras 3), with the weight files that Keras fetches.

Names are snake case, as Keras' own modules spell them. Taps name the last feature map of each
stride before the next downsampling: after the activation where there is one, in pre-activation
networks (ResNetV2, DenseNet, NASNet) the activated input of the block that strides. Layers that
Keras names automatically bear here the name they get in a fresh process. VGG has no strided stem,
so its first tap is the second block. Weight digests are those of the Keras source; it states none
for MobileNet and MobileNetV2. Licences of the weights are those of their origin, as the Keras
documentation and the authors' repositories state them.
"""

from __future__ import annotations

from zoo.catalog import _keras_entries as entries
from zoo.catalog._radimagenet import with_radimagenet
from zoo.spec import BackboneSpec

_ENTRIES = (
    entries.kernels(
        "xception",
        "Xception",
        "block2_sepconv2_bn block3_sepconv2_bn block4_sepconv2_bn block13_sepconv2_bn "
        "block14_sepconv2_act",
        20_861_480,
        "b0042744bf5b25fce3cb969f33bebb97",
        family="xception",
        mode="tf",
        licence="MIT",
        paper="Chollet, Xception, CVPR 2017, arXiv:1610.02357",
        min_size=71,
        input_size=299,
    ),
    entries.vgg(
        "vgg16",
        "VGG16",
        "block2_conv2 block3_conv3 block4_conv3 block5_conv3 block5_pool",
        14_714_688,
        "6d6bbae143d832006294945121d1f1fc",
    ),
    entries.vgg(
        "vgg19",
        "VGG19",
        "block2_conv2 block3_conv4 block4_conv4 block5_conv4 block5_pool",
        20_024_384,
        "253f8cb515780f3b799900260a226db6",
    ),
    entries.resnet("resnet50", "ResNet50", 4, 6, 23_587_712, "4d473c1dd8becc155b73f8504c6f6626"),
    entries.resnet("resnet101", "ResNet101", 4, 23, 42_658_176, "88cf7a10940856eca736dc7b7e228a21"),
    entries.resnet("resnet152", "ResNet152", 8, 36, 58_370_944, "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    entries.resnet_v2(
        "resnet50v2", "ResNet50V2", 4, 6, 23_564_800, "fac2f116257151a9d068a22e544a4917"
    ),
    entries.resnet_v2(
        "resnet101v2", "ResNet101V2", 4, 23, 42_626_560, "c0ed64b8031c3730f411d2eb4eea35b5"
    ),
    entries.resnet_v2(
        "resnet152v2", "ResNet152V2", 8, 36, 58_331_648, "ed17cf2e0169df9d443503ef94b23b33"
    ),
    entries.kernels(
        "inception_v3",
        "InceptionV3",
        "activation_2 activation_4 mixed2 mixed7 mixed10",
        21_802_784,
        "bcbd6486424b2319ff4ef7d526e38f63",
        family="inception",
        mode="tf",
        licence="Apache-2.0",
        paper="Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, arXiv:1512.00567",
        min_size=75,
        input_size=299,
    ),
    entries.kernels(
        "inception_resnet_v2",
        "InceptionResNetV2",
        "activation_2 activation_4 block35_10_ac block17_20_ac conv_7b_ac",
        54_336_736,
        "d19885ff4a710c122648d3b5c3b684e4",
        family="inception",
        mode="tf",
        licence="Apache-2.0",
        paper="Szegedy et al., Inception-v4, AAAI 2017, arXiv:1602.07261",
        min_size=75,
        input_size=299,
    ),
    entries.entry(
        "mobilenet",
        "MobileNet",
        "conv_pw_1_relu conv_pw_3_relu conv_pw_5_relu conv_pw_11_relu conv_pw_13_relu",
        3_228_864,
        family="mobilenet",
        mode="tf",
        file="mobilenet_1_0_224_tf_no_top.h5",
        digest=None,
        url=f"{entries.BASE}mobilenet/",
        licence="Apache-2.0",
        paper="Howard et al., MobileNets, 2017, arXiv:1704.04861",
    ),
    entries.entry(
        "mobilenet_v2",
        "MobileNetV2",
        "block_1_expand_relu block_3_expand_relu block_6_expand_relu block_13_expand_relu out_relu",
        2_257_984,
        family="mobilenet",
        mode="tf",
        file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        digest=None,
        url=f"{entries.BASE}mobilenet_v2/",
        licence="Apache-2.0",
        paper="Sandler et al., MobileNetV2, CVPR 2018, arXiv:1801.04381",
    ),
    entries.mobilenet_v3(
        "mobilenet_v3_small",
        "MobileNetV3Small",
        "activation re_lu_2 activation_1 activation_11 activation_17",
        939_120,
        "d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    entries.mobilenet_v3(
        "mobilenet_v3_large",
        "MobileNetV3Large",
        "re_lu_1 re_lu_5 activation_1 activation_13 activation_19",
        2_996_352,
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    entries.densenet("densenet121", "DenseNet121", 7_037_504, "30ee3e1110167f948a6b9946edeeb738"),
    entries.densenet("densenet169", "DenseNet169", 12_642_880, "b8c4d4c20dd625c148057b9ff1c1176b"),
    entries.densenet("densenet201", "DenseNet201", 18_321_984, "c13680b51ded0fb44dff2d8f86ac8bb1"),
    entries.nasnet(
        "nasnet_mobile",
        "NASNetMobile",
        "activation activation_11 activation_70 activation_129 activation_187",
        4_269_716,
        "1ed92395b5b598bdda52abe5c0dbfd63",
        input_size=224,
    ),
    entries.nasnet(
        "nasnet_large",
        "NASNetLarge",
        "activation activation_11 activation_94 activation_177 activation_259",
        84_916_818,
        "d81d89dc07e6e56530c4e77faddd61b5",
        input_size=331,
    ),
    entries.efficientnet(0, 224, 4_049_564, "50bc09e76180e00e4465e1a485ddc09d"),
    entries.efficientnet(1, 240, 6_575_232, "74c4e6b3e1f6a1eea24c589628592432"),
    entries.efficientnet(2, 260, 7_768_562, "111f8e2ac8aa800a7a99e3239f7bfb39"),
    entries.efficientnet(3, 300, 10_783_528, "af6d107764bb5b1abb91932881670226"),
    entries.efficientnet(4, 380, 17_673_816, "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    entries.efficientnet(5, 456, 28_513_520, "38879255a25d3c92d5e44e04ae6cec6f"),
    entries.efficientnet(6, 528, 40_960_136, "9ecce42647a20130c1f39a5d4cb75743"),
    entries.efficientnet(7, 600, 64_097_680, "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    entries.efficientnet_v2(
        "b0",
        "block1a_project_activation",
        "block2b_add",
        224,
        5_919_312,
        "893217f2bb855e2983157299931e43ff",
    ),
    entries.efficientnet_v2(
        "b1", "block1b_add", "block2c_add", 240, 6_931_124, "0e80663031ca32d657f9caa404b6ec37"
    ),
    entries.efficientnet_v2(
        "b2", "block1b_add", "block2c_add", 260, 8_769_374, "1dfe2e7a5d45b6632553a8961ea609eb"
    ),
    entries.efficientnet_v2(
        "b3", "block1b_add", "block2c_add", 300, 12_930_622, "f6abf7b5849ac99a89b50dd3fd532856"
    ),
    entries.efficientnet_v2(
        "s", "block1b_add", "block2d_add", 384, 20_331_360, "af0682fb74e8c54910f2d4393339c070"
    ),
    entries.efficientnet_v2(
        "m", "block1c_add", "block2e_add", 480, 53_150_388, "1b8dc055df72dde80d614482840fe342"
    ),
    entries.efficientnet_v2(
        "l", "block1d_add", "block2g_add", 480, 117_746_848, "b0b66b5c863aef5b46e8608fe1711615"
    ),
    entries.convnext(
        "tiny",
        "ConvNeXtTiny",
        27_820_128,
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
    entries.convnext(
        "small",
        "ConvNeXtSmall",
        49_454_688,
        "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    ),
    entries.convnext(
        "base",
        "ConvNeXtBase",
        87_566_464,
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    ),
    entries.convnext(
        "large",
        "ConvNeXtLarge",
        196_230_336,
        "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
    ),
    entries.convnext(
        "xlarge",
        "ConvNeXtXLarge",
        348_147_968,
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
    ),
)

SPECS: tuple[BackboneSpec, ...] = tuple(with_radimagenet(entry.spec) for entry in _ENTRIES)
CONSTRUCTORS: dict[str, str] = {entry.spec.name: entry.constructor for entry in _ENTRIES}
