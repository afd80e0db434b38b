import os

# Torch's threads read it when they start: those of tiny networks must not spin at barriers (trainer.environment).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
