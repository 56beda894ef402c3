#!/opt/gpucloud/venv/bin/python
"""nova-compute with Nova's own fake driver, so that what is measured is the cloud and not an emulated processor.

The stock driver gives its node another id at each start, and Nova refuses to take a host's node over from libvirt then:
this one has the id that is kept in Nova's state, and the name that libvirt gave it.
"""

import libvirt
import nova.cmd.compute
import nova.virt.node
from nova.virt import fake


class SteadyFakeDriver(fake.FakeDriver):
    def init_host(self, host):
        super().init_host(host)
        self._set_nodes([libvirt.openReadOnly("qemu:///system").getHostname()])

    def get_available_resource(self, nodename):
        resources = super().get_available_resource(nodename)
        resources["uuid"] = nova.virt.node.get_local_node_uuid()
        return resources

    def get_nodenames_by_uuid(self, refresh=False):
        return {nova.virt.node.get_local_node_uuid(): self.get_available_nodes()[0]}


fake.SteadyFakeDriver = SteadyFakeDriver
nova.cmd.compute.main()
