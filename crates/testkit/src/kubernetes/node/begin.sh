# What a node needs of this machine. Arguments: the folder; the bridge; its address with the prefix length.
set -eu
folder=$1 bridge=$2 address=$3

# Folders that the kubelet and containerd make wherever they are told to work.
for made in /var/lib/kubelet /usr/libexec/kubernetes /var/log/containers /var/lib/cni /run/containerd; do
    [ -e "$made" ] || echo "$made"
done >"$folder/made"
# Kubernetes changes these: they are put back.
for name in net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables vm/overcommit_memory vm/panic_on_oom kernel/panic \
    kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    [ ! -r "/proc/sys/$name" ] || printf '%s %s\n' "$name" "$(cat "/proc/sys/$name")"
done >"$folder/sysctls"
echo 1 >/proc/sys/net/ipv4/ip_forward
# Otherwise the answer of a Pod to its neighbour, asked through a Service, goes past the translation of addresses.
[ ! -e /proc/sys/net/bridge ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables

ip link add "$bridge" type bridge
ip address add "$address" dev "$bridge"
ip link set "$bridge" up
