#!/usr/bin/env bash
# Builds the test guest from Debian's sources, unpatched: a small Linux 6.1 for one processor (up), one
# for several with all drivers (smp), and an initramfs with a busybox shell and the program probe.
#
#   resources/test-kernel/build.sh [--force] [--keep]
#
#   --force  build although nothing changed since the last build
#   --keep   keep the source and object trees (1.5 GB), so that the next build is quick
#
# The result is bzImage-up vmlinux-up bzImage-smp vmlinux-smp initramfs.cpio (and config-up,
# config-smp, versions) in target/test-kernel, or in $NATOMA_TEST_KERNEL_DIR, which several checkouts
# may share. It is built again only when a file of this directory changed. Interrupted, it goes on
# where it was; run twice at once, the second waits for the first.
#
# Needs Debian 12. Missing packages are installed, for which it must be root; all else needs no root.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${NATOMA_TEST_KERNEL_DIR:-$(cd "$here/../.." && pwd)/target/test-kernel}
linux_package=linux-source-6.1
linux_tarball=/usr/src/$linux_package.tar.xz
packages=(
	"$linux_package" xz-utils          # the kernel's source
	build-essential bc bison flex      # what its build needs
	cpio libelf-dev lz4 rsync          #
	dpkg-dev linux-libc-dev musl-tools # busybox's source, and what its build and that of probe need
)
results=(bzImage-up vmlinux-up bzImage-smp vmlinux-smp initramfs.cpio config-up config-smp versions)

say() { echo "test kernel: $*"; }
die() {
	echo "test kernel: error: $*" >&2
	exit 1
}

# stamp: what the result depends on, as one number.
stamp() { (cd "$here" && sha256sum -- * | sha256sum | cut -d' ' -f1); }

# up_to_date: true if the cached result was made from the files as they are now.
up_to_date() {
	local file
	[ "$(cat "$out/stamp" 2>/dev/null)" = "$(stamp)" ] || return 1
	for file in "${results[@]}"; do
		[ -s "$out/$file" ] || return 1
	done
}

install_packages() {
	local package missing=()
	for package in "${packages[@]}"; do
		[ "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing+=("$package")
	done
	if [ ${#missing[@]} -eq 0 ]; then
		say "skipped installing packages: all are there"
		return
	fi
	[ "$(id -u)" = 0 ] || die "these packages are missing and only root can install them: apt-get install ${missing[*]}"
	say "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update
	apt-get -qq install --no-install-recommends "${missing[@]}" >"$work/packages.log" 2>&1 </dev/null ||
		die "apt-get install failed: $(tail -n 5 "$work/packages.log")"
}

# unpack DIR COMMAND...: runs COMMAND in DIR.new and renames that to DIR when it succeeded, so that
# DIR is either whole or absent.
unpack() {
	local dir=$1
	shift
	[ ! -d "$dir" ] || return 0
	rm -rf "$dir.new"
	mkdir -p "$dir.new"
	(cd "$dir.new" && "$@")
	mv "$dir.new" "$dir"
}

linux_source() {
	say "unpacking $linux_tarball"
	tar --extract --strip-components=1 --file="$linux_tarball"
}

# The source package from wherever this machine gets its Debian packages. The lists it needs are
# fetched to a directory of ours, as /etc/apt may well not name sources.
busybox_source() {
	say "fetching busybox's source"
	local apt="$PWD/apt" keyring=/usr/share/keyrings/debian-archive-keyring.gpg options
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	# The format is apt-get's, not the shell's.
	# shellcheck disable=SC2016
	apt-get indextargets --format "deb-src [signed-by=$keyring] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
		'Created-By: Packages' 'Origin: Debian' | sort -u >"$apt/sources.list"
	[ -s "$apt/sources.list" ] || die "apt knows no Debian archive: run apt-get update, and see /etc/apt/sources.list"
	options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$apt/lists"
		-o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
	apt-get "${options[@]}" update
	apt-get "${options[@]}" source --download-only busybox
	# apt has checked the signatures.
	dpkg-source --no-check -x busybox_*.dsc source >dpkg-source.log 2>&1 || die "$(tail -n 5 dpkg-source.log)"
	rm -rf "$apt"
}

# check_config FRAGMENT CONFIG: every line of the fragment must have taken effect.
check_config() {
	local lost
	lost=$(grep '^CONFIG_' "$1" | grep -vxFf "$2" || true)
	[ -z "$lost" ] || die "these lines of the configuration had no effect: $lost"
}

# build_kernel VARIANT FRAGMENT...: of several lines for one symbol the last one counts.
build_kernel() {
	local variant=$1 tree="$work/linux-$1"
	shift
	mkdir -p "$tree"
	cat "$@" | tac | awk -F= '!/^CONFIG_/ || !seen[$1]++' | tac >"$tree/fragment.config"
	local make=(make -s -C "$work/linux" O="$tree" "KCONFIG_ALLCONFIG=$tree/fragment.config"
		KBUILD_BUILD_USER=natoma KBUILD_BUILD_HOST=test-kernel "KBUILD_BUILD_TIMESTAMP=$(date -ur "$linux_tarball")")
	"${make[@]}" allnoconfig
	check_config "$tree/fragment.config" "$tree/.config"
	"${make[@]}" -j "$(nproc)" bzImage vmlinux
	strip -o "$work/vmlinux-$variant" "$tree/vmlinux"
	cp "$tree/arch/x86/boot/bzImage" "$work/bzImage-$variant"
	cp "$tree/.config" "$work/config-$variant"
}

# set_kernel_headers: where musl's compiler finds the headers of linux-libc-dev.
set_kernel_headers() {
	kernel_headers=(-idirafter /usr/include -idirafter "/usr/include/$(gcc -print-multiarch)")
}

# Its allnoconfig knows KCONFIG_ALLCONFIG but does not heed it: the lines are put in afterwards.
build_busybox() {
	local make=(make -s -C "$work/busybox/source" CC=musl-gcc KCONFIG_NOTIMESTAMP=1
		EXTRA_CFLAGS="${kernel_headers[*]}")
	local config="$work/busybox/source/.config"
	"${make[@]}" allnoconfig </dev/null
	grep '^CONFIG_' "$here/busybox.config" >"$work/busybox.config"
	sed -i -f <(sed 's/=.*//; s|.*|/^# & is not set$/d; /^&=/d|' "$work/busybox.config") "$config"
	cat "$work/busybox.config" >>"$config"
	"${make[@]}" oldconfig </dev/null
	check_config "$work/busybox.config" "$config"
	"${make[@]}" -j "$(nproc)" busybox
}

build_probe() {
	musl-gcc -static -Os -s -Wall -Wextra "${kernel_headers[@]}" -o "$work/probe" "$here/probe.c"
}

# The modification times are zero so that the same inputs give the same bytes.
build_initramfs() {
	local files="$work/initramfs"
	rm -rf "$files"
	mkdir "$files"
	cp "$here/init" "$here/fstab" "$work/busybox/source/busybox" "$work/probe" "$files"
	touch --date=@0 "$files"/*
	FILES=$files "$work/linux-up/usr/gen_init_cpio" -t 0 "$here/initramfs.list" >"$work/initramfs.cpio"
}

versions() {
	local package
	for package in "$linux_package" gcc musl-dev; do
		dpkg-query -W -f='${Package} ${Version}\n' "$package"
	done
	basename "$work"/busybox/busybox_*.dsc .dsc | tr _ ' '
}

# start NAME COMMAND...: runs COMMAND beside the others, with its output in a file of its own, and as a process group, so
# that all of it can be ended.
declare -A running=()
start() {
	local name=$1
	shift
	say "building $name (log: $work/$name.log)"
	set -m
	"$@" >"$work/$name.log" 2>&1 </dev/null &
	running[$name]=$!
	set +m
}

# stop: ends what is still running, when this script is interrupted.
stop() {
	local group
	for group in "${running[@]}"; do
		kill -- "-$group" 2>/dev/null || true
	done
}

# finish: waits for all that was started, and fails if one of them did.
finish() {
	local name failed=()
	for name in "${!running[@]}"; do
		wait "${running[$name]}" || failed+=("$name")
		unset "running[$name]"
	done
	for name in "${failed[@]}"; do
		echo "--- the end of $name.log"
		tail -n 25 "$work/$name.log"
	done >&2
	[ ${#failed[@]} -eq 0 ] || die "building ${failed[*]} failed; all of the output is in $work"
}

force=no keep=no
for option in "$@"; do
	case $option in
	--force) force=yes ;;
	--keep) keep=yes ;;
	*) die "unknown option $option (usage: build.sh [--force] [--keep])" ;;
	esac
done

mkdir -p "$out"
exec 9>"$out/lock"
flock --nonblock 9 || {
	say "waiting for another build in $out"
	flock 9
}
if [ $force = no ] && up_to_date; then
	say "skipped building: $out is up to date"
	exit 0
fi

work=$out/work
mkdir -p "$work"
trap stop EXIT
install_packages
unpack "$work/linux" linux_source
unpack "$work/busybox" busybox_source
set_kernel_headers
built_from=$(stamp)
start linux-up build_kernel up "$here/base.config"
start linux-smp build_kernel smp "$here/base.config" "$here/smp.config" "$here/drivers.config"
start busybox build_busybox
start probe build_probe
finish
build_initramfs
versions >"$work/versions"

# The stamp goes first and comes back last: it vouches for all the files.
rm -f "$out/stamp"
for file in "${results[@]}"; do
	mv "$work/$file" "$out/$file"
done
echo "$built_from" >"$out/stamp"
[ $keep = yes ] || rm -rf "$work"
say "built in $((SECONDS / 60)) min $((SECONDS % 60)) s: $out"
