from django.apps import apps
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
from django.db.migrations.state import ProjectState

OURS = {"accounts", "billing", "console", "deployments"}


def test_every_change_of_a_model_has_its_migration():
    loader = MigrationLoader(None)
    detector = MigrationAutodetector(
        loader.project_state(),
        ProjectState.from_apps(apps),
        NonInteractiveMigrationQuestioner(specified_apps=OURS, dry_run=True),
    )
    assert not OURS & detector.changes(graph=loader.graph).keys()
    assert not loader.detect_conflicts()
