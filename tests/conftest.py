"""What all tests start from."""

from django.contrib.auth.hashers import ScryptPasswordHasher
from hypothesis import settings

# The same hash made quickly: people are made by the thousand here, and a real one takes a third of a second of work.
ScryptPasswordHasher.work_factor = 2

# A deadline of milliseconds fails on a busy machine, and proves nothing about the property.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
