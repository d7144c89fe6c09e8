"""What all tests start from."""

from django.contrib.auth.hashers import ScryptPasswordHasher

# The same hash made quickly: people are made by the thousand here, and a real one takes a third of a second of work.
ScryptPasswordHasher.work_factor = 2
