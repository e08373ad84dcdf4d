#include "shared_object.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <functional>

namespace ckpt::fake {
namespace {

constexpr std::time_t kTimeToMakeOne_s = 10;

bool fill_with_pages(int fd, std::uint64_t bytes) {
  int error = 0;
  do error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  while (error == EINTR);
  return error == 0;
}

void for_each_object(const std::string& prefix, const std::function<void(const std::string&)>& visit) {
  DIR* folder = ::opendir("/dev/shm");
  if (folder == nullptr) return;
  while (const dirent* entry = ::readdir(folder))
    if (const std::string name = std::string("/") + entry->d_name; name.starts_with(prefix)) visit(name);
  ::closedir(folder);
}

void remove_if_left_over(const std::string& name) {
  const int fd = ::shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return;
  struct stat about {};
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0 && ::fstat(fd, &about) == 0) {
    const bool being_made = about.st_size == 0 && std::time(nullptr) - about.st_mtime < kTimeToMakeOne_s;
    if (!being_made) ::shm_unlink(name.c_str());
  }
  ::close(fd);
}

}  // namespace

std::unique_ptr<SharedObject> SharedObject::create(const std::string& name, std::uint64_t bytes) {
  const int fd = ::shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return nullptr;
  std::unique_ptr<SharedObject> object(new SharedObject(name, fd));
  object->maker_ = ::getpid();
  if (::flock(fd, LOCK_SH) != 0 || !fill_with_pages(fd, bytes) || !object->map(bytes)) return nullptr;
  return object;
}

std::unique_ptr<SharedObject> SharedObject::join(const std::string& name, std::uint64_t bytes) {
  const int fd = ::shm_open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return nullptr;
  std::unique_ptr<SharedObject> object(new SharedObject(name, fd));
  if (::flock(fd, LOCK_SH) != 0 || !fill_with_pages(fd, bytes) || !object->map(bytes)) return nullptr;
  return object;
}

std::unique_ptr<SharedObject> SharedObject::look_at(const std::string& name) {
  const int fd = ::shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  std::unique_ptr<SharedObject> object(new SharedObject(name, fd));
  struct stat about {};
  if (::fstat(fd, &about) != 0 || about.st_size == 0 || !object->map(static_cast<std::uint64_t>(about.st_size))) return nullptr;
  ::close(fd);
  object->fd_ = -1;
  return object;
}

bool SharedObject::map(std::uint64_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (at == MAP_FAILED) return false;
  data_ = static_cast<std::byte*>(at);
  bytes_ = bytes;
  return true;
}

SharedObject::~SharedObject() {
  if (maker_ == ::getpid()) unlink();  // a forked child has a copy of this
  if (data_ != nullptr) ::munmap(data_, bytes_);
  if (fd_ >= 0) ::close(fd_);
}

void SharedObject::unlink() const { ::shm_unlink(name_.c_str()); }

void remove_left_over_objects() {
  for_each_object(kMemoryPrefix, remove_if_left_over);
  for_each_object(kMeetingPrefix, remove_if_left_over);
}

std::uint64_t bytes_of_objects(const std::string& prefix) {
  std::uint64_t bytes = 0;
  for_each_object(prefix, [&](const std::string& name) {
    struct stat about {};
    if (::stat(("/dev/shm" + name).c_str(), &about) == 0) bytes += static_cast<std::uint64_t>(about.st_size);
  });
  return bytes;
}

std::string new_object_name(const std::string& prefix) {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) random = static_cast<std::uint64_t>(::getpid()) << 32;
  char name[64];
  std::snprintf(name, sizeof name, "%s%d-%012llx", prefix.c_str(), static_cast<int>(::getpid()), static_cast<unsigned long long>(random >> 16));
  return name;
}

}  // namespace ckpt::fake
