"""The archive from one of three sources; all end as the same three files.

One module per source (`huggingface`, `local`, `generated`), none importing another: a rule's code
digest covers what the rule imports, and a change of the phantom must not fetch the real data set
again.
"""
