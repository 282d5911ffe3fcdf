# Takes away what a node leaves on this machine once its daemons are dead. Argument: the folder.
folder=$1

# What runs in containers, by their cgroups, and the shims above them, by where they work.
containers() {
    cat /sys/fs/cgroup/kubepods/cgroup.procs /sys/fs/cgroup/*/kubepods/cgroup.procs 2>/dev/null
    find /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods -name cgroup.procs -exec cat {} + 2>/dev/null
    find /proc -maxdepth 2 -path '/proc/[0-9]*/cwd' -lname "$folder/containerd/*" 2>/dev/null | cut -d/ -f3
}
while pids=$(containers | sort -u); [ -n "$pids" ]; do kill -KILL $pids 2>/dev/null; sleep 0.05; done
for socket in "$folder"/containerd/state/*/k8s.io/*/address; do
    [ ! -e "$socket" ] || rm -f "$(sed 's|^unix://||' "$socket")"
done

ip link delete freehold0
for family in ip ip6; do nft delete table $family kube-proxy; done
awk -v folder="$folder/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
find /var/log/containers -lname "$folder/*" -delete
grep -l -s -F "$folder/" /var/lib/cni/results/* | xargs -r rm -f
for try in 1 2 3 4 5 6 7 8 9 10; do
    find /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods -depth -type d -exec rmdir {} + 2>/dev/null
    ls -d /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods >/dev/null 2>&1 || break
    sleep 0.1
done
while read -r name value; do echo "$value" >"/proc/sys/$name"; done <"$folder/sysctls"
while read -r made; do rm -rf "$made"; done <"$folder/made"
