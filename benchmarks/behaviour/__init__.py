"""How well a duplex model behaves: scripted conversations played through the real engine.

scenario: what is said and expected · player: the engine on a virtual clock · judge: what one reply
is · metrics: what is counted · score: rates, intervals, the one number · controls: policies
without a model · variants, real, sessions: scenarios made at run time · families: rates by
family and by corpus · table, html: the report · generate, wording, facts: how the scenario files
were made.
"""
