"""What setup.cfg cannot say: the wheel also has folders from beside the package.

In a checkout ``hparams`` and ``recipes`` are at the top, where a reader looks for them.
In a wheel they go into ``ssr_plugin/share``; ``ssr_plugin.shipped`` finds them in both.
"""

from setuptools import find_packages, setup

SHIPPED = ["hparams", "recipes"]  # ssr_plugin.shipped.FOLDERS

setup(
    packages=find_packages(include=["ssr_plugin*"])
    + [f"ssr_plugin.share.{folder}" for folder in SHIPPED],
    package_dir={f"ssr_plugin.share.{folder}": folder for folder in SHIPPED},
    package_data={
        "ssr_plugin": ["py.typed"],
        "ssr_plugin.evaluation.report": ["*.jinja"],
        **{f"ssr_plugin.share.{folder}": ["**/*"] for folder in SHIPPED},
    },
    exclude_package_data={"": ["*.pyc", "*/results/*"]},
)
