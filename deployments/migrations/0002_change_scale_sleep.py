from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='deployment',
            name='asleep_since',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='deployment',
            name='autoscaler',
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name='deployment',
            name='autoscaling_enabled',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='deployment',
            name='max_replicas',
            field=models.PositiveIntegerField(default=1),
        ),
        migrations.AddField(
            model_name='deployment',
            name='min_replicas',
            field=models.PositiveIntegerField(default=1),
        ),
        migrations.AddField(
            model_name='deployment',
            name='rollout_hold',
            field=models.CharField(blank=True, max_length=300),
        ),
        migrations.AddField(
            model_name='deployment',
            name='scale_down_delay_seconds',
            field=models.PositiveIntegerField(default=300),
        ),
        migrations.AddField(
            model_name='deployment',
            name='sleep_after_seconds',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='deployment',
            name='tried_since',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='deployment',
            name='version',
            field=models.PositiveIntegerField(default=1),
        ),
        migrations.AddField(
            model_name='deployment',
            name='woken_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='revision',
            name='cause',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='revision',
            name='ready_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='revision',
            name='restores',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
    ]
