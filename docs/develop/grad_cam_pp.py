"""Grad-CAM++ (Chattopadhay et al., WACV 2018) of plain CAM's classifier: training, losses and scores are inherited."""

from __future__ import annotations

from typing import Any

import torch

from methods.cam.network import PlainCam


class GradCamPlusPlus(PlainCam):
    def maps(self, images: torch.Tensor, settings: Any) -> torch.Tensor:
        """Features weighted by their positive gradients. exp(score), which scales a whole map, is left out."""
        with torch.inference_mode(False), torch.enable_grad():  # both are off where maps are computed
            images = images.clone()  # a tensor made in inference mode takes no part in gradients
            features = self.backbone(images).detach().requires_grad_()
            scores = self.classifier(features).mean((2, 3))
            total = features.detach().sum((2, 3), keepdim=True)
            maps = []
            for score in scores.unbind(1):
                (gradient,) = torch.autograd.grad(score.sum(), features, retain_graph=True)
                divisor = 2 * gradient**2 + total * gradient**3
                alpha = gradient**2 / torch.where(divisor == 0, 1, divisor)
                weights = (alpha * gradient.relu()).sum((2, 3), keepdim=True)
                maps.append((weights * features.detach()).sum(1))
        return torch.stack(maps, 1).relu()
