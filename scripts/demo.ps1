# Installs what the demo needs, once, and runs it: the twin of scripts/demo for Windows.
# Not run here: it was written without a Windows machine.
$ErrorActionPreference = 'Stop'
$programs = py -3 (Join-Path $PSScriptRoot 'bootstrap.py')
if ($LASTEXITCODE) { exit $LASTEXITCODE }
& (Join-Path $programs 'stella-materializer.exe') demo @args
exit $LASTEXITCODE
