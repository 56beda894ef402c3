# Written by gpucloud-install. Own lines belong into /etc/gpucloud/horizon/local_settings.d; see README.
import glob

DEBUG = False
ALLOWED_HOSTS = ['*']
WEBROOT = '/dashboard/'
LOCAL_PATH = '/var/lib/horizon'
STATIC_ROOT = '/var/lib/horizon/static'
STATIC_URL = '/dashboard/static/'
COMPRESS_OFFLINE = True
SECRET_KEY = '{{ secret(name="horizon") }}'
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
CACHES = {
    'default': {
        'BACKEND': 'django.core.cache.backends.memcached.PyMemcacheCache',
        'LOCATION': '127.0.0.1:11211',
    },
}
EMAIL_BACKEND = 'django.core.mail.backends.console.EmailBackend'
OPENSTACK_HOST = '{{ host_address }}'
OPENSTACK_KEYSTONE_URL = 'http://{{ host_address }}:5000/v3'
OPENSTACK_API_VERSIONS = {'identity': 3, 'image': 2, 'volume': 3}
OPENSTACK_KEYSTONE_DEFAULT_ROLE = 'member'
TIME_ZONE = 'UTC'

for _path in sorted(glob.glob('/etc/gpucloud/horizon/local_settings.d/*.py')):
    with open(_path, encoding='utf-8') as _file:
        exec(_file.read())
