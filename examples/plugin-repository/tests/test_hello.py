"""hello, in a shell: a few lines are enough for a test."""


def test_lo_is_up_and_the_result_says_so(cni, make_pod):
    hello, pod = cni("hello").at_version("1.0.0"), make_pod(ifname="lo")

    result = hello.add(pod).result

    assert [(i.name, i.sandbox) for i in result.interfaces] == [("lo", pod.netns)]
    assert hello.check(pod).ok
    assert hello.delete(pod).ok
    assert hello.delete(pod).ok
