"""RadImageNet's weights of four networks of keras.applications: 1.35 million CT, MR and US images.

Facts, with their sources:

- Page and download by hand (a Google Drive folder): github.com/BMEII-AI/RadImageNet. It states no
  digests. Scripts that load the files call them ``RadImageNet-<network>_notop.h5``; that of
  InceptionResNetV2 is ``RadImageNet-IRV2_notop.h5``. They are whole models without a top, saved by
  Keras 2 in the layout of keras.applications.
- Licence: CC BY 4.0 in the model card of RSNA's Atlas (doi.org/10.1148/atlas.1769274475598); the
  code of the repository is MIT. The images themselves come under an agreement of their own.
- Preprocessing: every Keras script of the repository gives ``ImageDataGenerator`` both
  ``preprocess_input`` of ``imagenet_utils`` (caffe: BGR minus ImageNet's means) and
  ``rescale=1/255``; the generator rescales last, which makes (BGR - mean) / 255. The
  repository's PyTorch notebook scales to [-1, 1] instead, and nobody answered which of the two the
  training used (its issue 18). Here the Keras files get what the Keras scripts feed them.
"""

from __future__ import annotations

import dataclasses

from zoo.spec import BackboneSpec, WeightSpec

_FILES = {
    "resnet50": "RadImageNet-ResNet50_notop.h5",
    "densenet121": "RadImageNet-DenseNet121_notop.h5",
    "inception_v3": "RadImageNet-InceptionV3_notop.h5",
    "inception_resnet_v2": "RadImageNet-IRV2_notop.h5",
}


def with_radimagenet(spec: BackboneSpec) -> BackboneSpec:
    """Offer RadImageNet's weights besides, where there are any."""
    if spec.name not in _FILES:
        return spec
    weight = WeightSpec(
        name="radimagenet",
        source="file",
        file=_FILES[spec.name],
        page="https://github.com/BMEII-AI/RadImageNet",
        licence="CC-BY-4.0",
        citation="Mei et al., RadImageNet, Radiology: AI 2022, doi:10.1148/ryai.210315",
        input_convention="grey in three channels, 0-255, (BGR - ImageNet mean) / 255",
        input_range=(-0.485, 0.5924),
        preprocessing="caffe255",
    )
    return dataclasses.replace(spec, weights=(*spec.weights, weight))
