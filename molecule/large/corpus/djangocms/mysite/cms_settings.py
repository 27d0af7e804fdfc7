# SPDX-License-Identifier: GPL-3.0-or-later
"""What django CMS wants to find in the settings."""

CMS_APPS = [
    "django.contrib.sites",
    "cms",
    "menus",
    "treebeard",
    "sekizai",
    "easy_thumbnails",
    "filer",
    "djangocms_text",
    "djangocms_versioning",
    "djangocms_alias",
]
CMS_MIDDLEWARE = [
    "django.middleware.locale.LocaleMiddleware",
    "cms.middleware.user.CurrentUserMiddleware",
    "cms.middleware.page.CurrentPageMiddleware",
    "cms.middleware.toolbar.ToolbarMiddleware",
    "cms.middleware.language.LanguageCookieMiddleware",
]
CMS_CONTEXT_PROCESSORS = [
    "django.template.context_processors.i18n",
    "cms.context_processors.cms_settings",
    "sekizai.context_processors.sekizai",
]
CMS_CONFIRM_VERSION4 = True
CMS_TEMPLATES = [("page.html", "A page")]
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "German")]
SITE_ID = 1
X_FRAME_OPTIONS = "SAMEORIGIN"
MEDIA_URL = "/media/"
