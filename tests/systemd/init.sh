# Process 1 of the trial's namespaces: makes a machine out of the running one, and becomes systemd. See run.py, which starts it.
# Nothing written in here lasts: / and the product's tree are overlays with their upper halves in memory.
set -eu
MOUNTS=$(cat /proc/self/mounts)
TREE=$1 PYTHON_HOME=$2 BASE=$3

overlay() { # LOWER NAME WHERE
    mkdir "$BASE/$2" "$BASE/$2/upper" "$BASE/$2/work"
    mount -t overlay -o "lowerdir=$1,upperdir=$BASE/$2/upper,workdir=$BASE/$2/work" overlay "$3"
}

# every hierarchy of control groups that there is, seen from the group of the trial
mount_control_groups() {
    local where type options words word
    while read -r _ where type options _; do
        case $type in
            cgroup2) words= ;;
            cgroup)
                words=
                for word in ${options//,/ }; do
                    case $word in
                        rw | ro | no* | relatime | xattr | clone_children | release_agent=*) ;;
                        name=*) words="$words,none,$word" ;;
                        *) words="$words,$word" ;;
                    esac
                done
                ;;
            *) continue ;;
        esac
        mkdir -p "$ROOT$where"
        mount -t "$type" ${words:+-o "${words#,}"} "$type" "$ROOT$where"
    done <<<"$MOUNTS"
}

make_devices() {
    local name
    mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
    for name in null zero full random urandom tty; do cp -a "/dev/$name" "$ROOT/dev/"; done
    mkdir "$ROOT/dev/pts" "$ROOT/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$ROOT/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$ROOT/dev/shm"
    ln -s pts/ptmx "$ROOT/dev/ptmx"
    ln -s /proc/self/fd "$ROOT/dev/fd"
    for name in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${name%%:*}" "$ROOT/dev/${name##*:}"; done
}

mount -t tmpfs -o mode=755 tmpfs "$BASE"
ROOT=$BASE/root
mkdir "$ROOT"
overlay / lower "$ROOT"

# As an administrator has it: in a directory that services can read, its Python too (a Python below somebody's home is hidden from them)
mkdir -p "$ROOT/opt/fastgw"
overlay "$TREE" tree "$ROOT/opt/fastgw"
VENV=$ROOT/opt/fastgw/.venv
case $PYTHON_HOME in
    /usr | /usr/local) ;;
    *)
        mkdir -p "$ROOT/opt/python"
        mount --bind "$PYTHON_HOME" "$ROOT/opt/python"
        sed -i 's|^home = .*|home = /opt/python/bin|' "$VENV/pyvenv.cfg"
        ln -sfn /opt/python/bin/python3 "$VENV/bin/python3"
        ln -sfn python3 "$VENV/bin/python"
        echo /opt/python/lib >"$ROOT/etc/ld.so.conf.d/0-fastgw-trial.conf" # its library is looked for where it was built
        ;;
esac
sed -i "s|$TREE|/opt/fastgw|g" "$VENV/bin/fastgw" "$VENV"/lib/python3*/site-packages/__editable__*

mount -t tmpfs -o mode=755 tmpfs "$ROOT/run"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
mount -t sysfs -o ro sysfs "$ROOT/sys"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/sys/fs/cgroup" 2>/dev/null || true
mount_control_groups
make_devices
# the kernel's settings are those of the whole machine; the network's are our own
mount --bind "$ROOT/proc/sys" "$ROOT/proc/sys"
mount -o remount,ro,bind "$ROOT/proc/sys"
mount --bind "$ROOT/proc/sys/net" "$ROOT/proc/sys/net" 2>/dev/null || true
mount -o remount,rw,bind "$ROOT/proc/sys/net" 2>/dev/null || true

cd "$ROOT"
mkdir -p mnt
pivot_root . mnt
cd /
umount -l /mnt
mount --make-rshared / # what systemd mounts for a service (credentials) is seen by others
: >/etc/machine-id
ldconfig
# nothing that this machine has enabled starts here
rm -rf /etc/systemd/system/multi-user.target.wants /etc/systemd/system/sockets.target.wants /etc/systemd/system/timers.target.wants \
    /etc/systemd/system/network-online.target.wants
exec env -i container=fastgw-trial PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --system --log-target=journal --show-status=false --unit=multi-user.target
