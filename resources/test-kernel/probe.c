// Tries devices from the test guest's user space, where the shell has no applet for it.
//
//   probe format DEVICE      formats a floppy, and makes an empty FAT file system on it
//   probe rtc HZ SECONDS     how often the RTC's periodic interrupt arrives
//   probe hpet HZ SECONDS    how often a periodic timer of the HPET interrupts, and how much later in the end than before
//   probe updates COUNT      how long COUNT update interrupts of the RTC take
//   probe key                has the keyboard controller press a key
//   probe mouse              has it move the mouse
//   probe eeprom VALUE       writes a byte to the SMBus EEPROM at 50h and reads it back
//   probe watchdog S FEEDS   starts the watchdog, feeds it once a second FEEDS times, and leaves it alone
//   probe bootstatus         what the watchdog's driver says of the last reset
//
// What it finds goes to standard output, a failure to standard error, and then its status is 1.

#include <errno.h>
#include <fcntl.h>
#include <linux/fd.h>
#include <linux/hpet.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <linux/input.h>
#include <linux/rtc.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

// What takes longer does not happen. Where the kernel is interpreted a system call takes a millisecond.
enum { LIMIT_SECONDS = 10 };

// Ends the program with a message.
__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fputs("probe: ", stderr);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

// The same for a system call that failed.
__attribute__((noreturn)) static void die_of_error(const char *what)
{
	die("%s: %s", what, strerror(errno));
}

static int open_device(const char *path, int flags)
{
	int fd = open(path, flags);
	if (fd < 0)
		die_of_error(path);
	return fd;
}

static void control(int fd, unsigned long request, void *argument, const char *name)
{
	if (ioctl(fd, request, argument) < 0)
		die_of_error(name);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static void wait_seconds(long seconds)
{
	struct timespec time = { .tv_sec = seconds };
	while (nanosleep(&time, &time) < 0)
		;
}

static long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 0);
	if (*text == 0 || *end != 0 || value < 0)
		die("'%s' is not a number", text);
	return value;
}

// --- I/O ports

static int ports = -1;

static void port_write(uint16_t port, const uint8_t *bytes, size_t count)
{
	if (ports < 0)
		ports = open_device("/dev/port", O_RDWR);
	if (pwrite(ports, bytes, count, port) != (ssize_t)count)
		die("port %#x can't be written: %s", port, strerror(errno));
}

static uint8_t port_read(uint16_t port)
{
	uint8_t value;
	if (ports < 0)
		ports = open_device("/dev/port", O_RDWR);
	if (pread(ports, &value, 1, port) != 1)
		die("port %#x can't be read: %s", port, strerror(errno));
	return value;
}

// --- Interrupts

// How often an interrupt has come. The kernel of one processor has one number there.
static long interrupts(int irq)
{
	char path[64], text[32];
	snprintf(path, sizeof(path), "/sys/kernel/irq/%d/per_cpu_count", irq);
	int fd = open_device(path, O_RDONLY);
	ssize_t count = read(fd, text, sizeof(text) - 1);
	if (count <= 0)
		die_of_error(path);
	close(fd);
	text[count] = 0;
	return atol(text);
}

struct edge {
	double time;
	long count;
};

// Waits for the next interrupt.
static struct edge next_interrupt(int irq)
{
	long before = interrupts(irq);
	double start = now();
	for (;;) {
		struct edge edge = { .count = interrupts(irq) };
		edge.time = now();
		if (edge.count != before)
			return edge;
		if (edge.time - start > LIMIT_SECONDS)
			die("no interrupt %d in %d seconds", irq, LIMIT_SECONDS);
	}
}

// Prints how many interrupts there were from one of them to another one some seconds later. What reads the
// lines can take the time itself, by a clock that is not the guest's.
static void show_rate(int irq, long seconds)
{
	struct edge first = next_interrupt(irq);
	printf("from here\n");
	wait_seconds(seconds);
	struct edge last = next_interrupt(irq);
	long count = last.count - first.count;
	printf("%ld interrupts in %.4f s\n", count, last.time - first.time);
}

// --- RTC

enum { RTC_IRQ = 8, RTC_INDEX = 0x70, RTC_DATA = 0x71, REGISTER_A = 0x0a, REGISTER_B = 0x0b, PIE = 1 << 6 };

static uint8_t rtc_read(uint8_t index)
{
	port_write(RTC_INDEX, &index, 1);
	return port_read(RTC_DATA);
}

// Index and data in one system call.
static void rtc_write(uint8_t index, uint8_t value)
{
	port_write(RTC_INDEX, (uint8_t[]){ index, value }, 2);
}

// The kernel has long made the periodic interrupts of /dev/rtc from its own timers, so those of the chip are switched on
// behind its back; its handler acknowledges them all the same. That handler is all that can come between index and data
// of one system call on one processor. It leaves the index at register B, which is the one that is written while the
// interrupts are on.
static void probe_rtc(long hz, long seconds)
{
	int rate = 1;
	while (rate <= 15 && 32768 >> (rate - 1) != hz)
		rate++;
	if (rate < 3 || rate > 15)
		die("the RTC can't interrupt %ld times a second", hz);
	uint8_t a = rtc_read(REGISTER_A), b = rtc_read(REGISTER_B);
	rtc_write(REGISTER_A, (a & 0x70) | rate);
	rtc_write(REGISTER_B, b | PIE);
	show_rate(RTC_IRQ, seconds);
	rtc_write(REGISTER_B, b & ~PIE);
	rtc_write(REGISTER_A, a & 0x7f);
}

// Waits for update interrupts of the RTC. Returns how many there were since the last time.
static long next_updates(int fd)
{
	unsigned long data;
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	if (poll(&poll_fd, 1, LIMIT_SECONDS * 1000) != 1)
		die("no update interrupt in %d seconds", LIMIT_SECONDS);
	if (read(fd, &data, sizeof(data)) != sizeof(data))
		die_of_error("reading /dev/rtc0");
	if (!(data & RTC_UF))
		die("/dev/rtc0 says %#lx", data);
	return data >> 8;
}

// The kernel makes update interrupts from alarms a second apart.
static void probe_updates(long count)
{
	int fd = open_device("/dev/rtc0", O_RDONLY);
	control(fd, RTC_UIE_ON, NULL, "RTC_UIE_ON");
	next_updates(fd);
	double start = now();
	long seen = 0;
	while (seen < count)
		seen += next_updates(fd);
	printf("%ld updates in %.4f s\n", seen, now() - start);
	control(fd, RTC_UIE_OFF, NULL, "RTC_UIE_OFF");
}

// --- HPET

// Waits for interrupts of an HPET timer. Returns how many there were since the last time.
static unsigned long next_matches(int fd)
{
	unsigned long count;
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	if (poll(&poll_fd, 1, LIMIT_SECONDS * 1000) != 1)
		die("no interrupt of the HPET in %d seconds", LIMIT_SECONDS);
	if (read(fd, &count, sizeof(count)) != sizeof(count))
		die_of_error("reading /dev/hpet");
	return count;
}

// The driver gives out the timers that the kernel has no use for. It needs one that can be routed to an I/O APIC input above 15.
static void probe_hpet(long hz, long seconds)
{
	int fd = open_device("/dev/hpet", O_RDONLY);
	control(fd, HPET_IRQFREQ, (void *)hz, "HPET_IRQFREQ");
	control(fd, HPET_EPI, NULL, "HPET_EPI");
	control(fd, HPET_IE_ON, NULL, "HPET_IE_ON");
	next_matches(fd);
	double start = now(), time = 0, least_late[2] = { seconds, seconds };
	unsigned long count = 0;
	long periods = 0;
	do {
		double before = time;
		count += next_matches(fd);
		time = now() - start;
		// Interrupts may have been lost. What is not a whole number of periods is how late this one was seen, less how late the
		// first one was; the least in each half of the time is hardly due to the seeing.
		periods += (long)((time - before) * hz + 0.5);
		double late = time - (double)periods / hz;
		int half = time * 2 >= seconds;
		if (late < least_late[half])
			least_late[half] = late;
	} while (time < seconds);
	printf("%lu interrupts in %.4f s, then later by %.4f\n", count, time, least_late[1] - least_late[0]);
	control(fd, HPET_IE_OFF, NULL, "HPET_IE_OFF");
}

// --- Keyboard and mouse

enum {
	I8042_DATA = 0x60,
	I8042_STATUS = 0x64,
	OUTPUT_FULL = 1 << 0,
	INPUT_FULL = 1 << 1,
	WRITE_KEYBOARD_OUTPUT = 0xd2,
	WRITE_MOUSE_OUTPUT = 0xd3,
};

// Has the controller say a byte as if it came from the keyboard or the mouse.
static void i8042_say(uint8_t command, uint8_t byte)
{
	double start = now();
	while (port_read(I8042_STATUS) & (OUTPUT_FULL | INPUT_FULL))
		if (now() - start > LIMIT_SECONDS)
			die("nobody reads what the keyboard controller has to say");
	port_write(I8042_STATUS, &command, 1);
	port_write(I8042_DATA, &byte, 1);
}

// Whether a name begins and ends as given.
static int is_named(const char *name, const char *begin, const char *end)
{
	size_t length = strlen(name), end_length = strlen(end);
	return !strncmp(name, begin, strlen(begin)) && length >= end_length && !strcmp(name + length - end_length, end);
}

// Opens the input device whose name begins and ends as given. The drivers of keyboard and mouse look for them beside
// all else that a starting kernel does, so they may not have done when the shell is there.
static int open_input(const char *begin, const char *end)
{
	double start = now();
	while (now() - start < LIMIT_SECONDS) {
		for (int index = 0; index < 8; index++) {
			char path[32], name[64] = "";
			snprintf(path, sizeof(path), "/dev/input/event%d", index);
			int fd = open(path, O_RDONLY);
			if (fd < 0)
				continue;
			control(fd, EVIOCGNAME(sizeof(name) - 1), name, "EVIOCGNAME");
			if (is_named(name, begin, end)) {
				printf("%s\n", name);
				return fd;
			}
			close(fd);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	die("there is no input device '%s...%s'", begin, end);
}

// Prints events until there were some of one type.
static void show_events(int fd, uint16_t type, int count)
{
	while (count > 0) {
		struct input_event event;
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		if (poll(&poll_fd, 1, LIMIT_SECONDS * 1000) != 1)
			die("no event in %d seconds", LIMIT_SECONDS);
		if (read(fd, &event, sizeof(event)) != sizeof(event))
			die_of_error("reading an event");
		if (event.type == type) {
			printf("%d %d\n", event.code, event.value);
			count--;
		}
	}
}

static void probe_key(void)
{
	// The controller translates what the keyboard says to set 1; what it is told to say is not translated.
	enum { PRESS_A = 0x1e, RELEASE_A = 0x9e };
	int fd = open_input("AT ", "keyboard");
	i8042_say(WRITE_KEYBOARD_OUTPUT, PRESS_A);
	i8042_say(WRITE_KEYBOARD_OUTPUT, RELEASE_A);
	show_events(fd, EV_KEY, 2);
}

static void probe_mouse(void)
{
	// Five to the right and three up, as a mouse with a wheel says it. To the kernel up is less.
	static const uint8_t packet[] = { 0x08, 5, 3, 0 };
	int fd = open_input("Im", "Mouse");
	for (size_t index = 0; index < sizeof(packet); index++)
		i8042_say(WRITE_MOUSE_OUTPUT, packet[index]);
	show_events(fd, EV_REL, 2);
}

// --- SMBus

static void smbus(int fd, uint8_t direction, uint8_t *value)
{
	enum { OFFSET = 0x40 };
	union i2c_smbus_data data = { .byte = *value };
	struct i2c_smbus_ioctl_data transfer = {
		.read_write = direction,
		.command = OFFSET,
		.size = I2C_SMBUS_BYTE_DATA,
		.data = &data,
	};
	control(fd, I2C_SMBUS, &transfer, "I2C_SMBUS");
	*value = data.byte;
}

static void probe_eeprom(long byte)
{
	int fd = open_device("/dev/i2c-0", O_RDWR);
	if (ioctl(fd, I2C_SLAVE, 0x50) < 0)
		die_of_error("I2C_SLAVE");
	uint8_t value = byte;
	smbus(fd, I2C_SMBUS_WRITE, &value);
	value = 0;
	smbus(fd, I2C_SMBUS_READ, &value);
	printf("%#x\n", value);
}

// --- Watchdog

static void probe_watchdog(long seconds, long feeds)
{
	int fd = open_device("/dev/watchdog", O_WRONLY), timeout = seconds;
	control(fd, WDIOC_SETTIMEOUT, &timeout, "WDIOC_SETTIMEOUT");
	if (timeout != seconds)
		die("the watchdog was set to %ld seconds and says %d", seconds, timeout);
	for (; feeds > 0; feeds--) {
		wait_seconds(1);
		control(fd, WDIOC_KEEPALIVE, NULL, "WDIOC_KEEPALIVE");
	}
	// The system ends without another word, and the driver does not stop a watchdog that is closed like this.
	printf("left alone\n");
}

static void probe_bootstatus(void)
{
	int fd = open_device("/dev/watchdog", O_WRONLY), status;
	control(fd, WDIOC_GETBOOTSTATUS, &status, "WDIOC_GETBOOTSTATUS");
	printf("%s\n", status & WDIOF_CARDRESET ? "reset by the watchdog" : "not reset by the watchdog");
	// Opening has started it; this letter allows to stop it.
	if (write(fd, "V", 1) != 1)
		die_of_error("writing to the watchdog");
}

// --- Floppy disk

enum { TRACKS = 80, HEADS = 2, SECTORS = 18, SECTOR = 512 };

// An empty FAT12 file system, as DOS makes it on such a medium: 2 FATs of 9 sectors, 14 sectors of root directory.
static void make_file_system(int fd)
{
	enum { FATS = 2, FAT_SECTORS = 9, ROOT_SECTORS = 14, HEAD_SECTORS = 1 + FATS * FAT_SECTORS + ROOT_SECTORS };
	static const uint8_t boot_sector[62] = {
		0xeb, 0x3c, 0x90, 'N', 'A', 'T', 'O', 'M', 'A', ' ', ' ',
		0x00, 0x02, // bytes in a sector
		1, // sectors in a cluster
		1, 0, // reserved sectors
		FATS,
		224, 0, // entries of the root directory
		0x40, 0x0b, // sectors: 2880
		0xf0, // media
		FAT_SECTORS, 0, // sectors of a FAT
		SECTORS, 0, HEADS, 0, // geometry
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0x29, // what follows is there
		0x0a, 0x70, 0x1a, 0x11, // serial number
		'P', 'R', 'O', 'B', 'E', ' ', ' ', ' ', ' ', ' ', ' ',
		'F', 'A', 'T', '1', '2', ' ', ' ', ' ',
	};
	static uint8_t head[HEAD_SECTORS * SECTOR];
	memcpy(head, boot_sector, sizeof(boot_sector));
	head[510] = 0x55;
	head[511] = 0xaa;
	for (int fat = 0; fat < FATS; fat++)
		memcpy(head + (1 + fat * FAT_SECTORS) * SECTOR, "\xf0\xff\xff", 3);
	if (pwrite(fd, head, sizeof(head), 0) != sizeof(head) || fsync(fd) < 0)
		die_of_error("writing a file system");
}

static void probe_format(const char *device)
{
	int fd = open_device(device, O_RDWR);
	struct floppy_struct geometry;
	control(fd, FDGETPRM, &geometry, "FDGETPRM");
	if (geometry.track != TRACKS || geometry.head != HEADS || geometry.sect != SECTORS)
		die("%u tracks, %u heads, %u sectors", geometry.track, geometry.head, geometry.sect);
	control(fd, FDFMTBEG, NULL, "FDFMTBEG");
	for (unsigned track = 0; track < TRACKS; track++) {
		for (unsigned head = 0; head < HEADS; head++) {
			struct format_descr place = { .device = 0, .head = head, .track = track };
			if (ioctl(fd, FDFMTTRK, &place) < 0)
				die("formatting track %u, head %u: %s", track, head, strerror(errno));
		}
	}
	control(fd, FDFMTEND, NULL, "FDFMTEND");
	make_file_system(fd);
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "";
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "format") && count == 3)
		probe_format(words[2]);
	else if (!strcmp(what, "rtc") && count == 4)
		probe_rtc(number(words[2]), number(words[3]));
	else if (!strcmp(what, "hpet") && count == 4)
		probe_hpet(number(words[2]), number(words[3]));
	else if (!strcmp(what, "updates") && count == 3)
		probe_updates(number(words[2]));
	else if (!strcmp(what, "key") && count == 2)
		probe_key();
	else if (!strcmp(what, "mouse") && count == 2)
		probe_mouse();
	else if (!strcmp(what, "eeprom") && count == 3)
		probe_eeprom(number(words[2]));
	else if (!strcmp(what, "watchdog") && count == 4)
		probe_watchdog(number(words[2]), number(words[3]));
	else if (!strcmp(what, "bootstatus") && count == 2)
		probe_bootstatus();
	else
		die("unknown arguments (the head of probe.c lists them)");
	return 0;
}
