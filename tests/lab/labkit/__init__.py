"""The lab: hosts made of namespaces, wired as a small cluster. `labkit.lab.Lab` is the whole of it.

    from labkit.lab import Lab
    lab = Lab("demo")
    lab.up()                                  # a, b, the witness w and a client; guest pg built if needed
    lab.understudy("a", "status", "--json")   # the CLI on a host
    lab.kill("a")                             # the death of a host
    lab.down()
"""
