"""The story of the design, which tests of stories read and change."""

STORY = """\
version: 1
title: Cafe to river
global_prompt: An autumn afternoon in a small town, warm film look.
characters:
  mira: a woman with short red hair and a yellow raincoat
  leo: a waiter
scenes:
  cafe: a corner cafe with fogged windows
negative_prompt: blurry, subtitles
video: {fps: 8}
sampling: {seed: 7, mode: stream}
attention: {preset: pocket, top_k: 5}
shots:
  - {id: wide, scene: cafe, duration: 8s, prompt: "{mira} stirs her coffee by the window", camera: wide}
  - {id: river, duration: 1.5s, prompt: "{mira} looks at her phone on the riverbank", cut: no, seed: 3}
"""
