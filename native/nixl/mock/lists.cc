// The plain containers of the C API: parameters, lists, options, notifications, answers.
#include <cstdlib>
#include <cstring>

#include "objects.h"

namespace dynamo::nixl::mocked {
namespace {

template <typename Object>
Status destroy(Object* object) {
  if (object == nullptr) return Status::invalid_param;
  delete object;
  return Status::ok;
}

template <typename Object>
Status create(Object** out) {
  if (out == nullptr) return Status::invalid_param;
  *out = new Object{};
  return Status::ok;
}

template <typename Items, typename Value>
Status size_of(const Items* object, Value* size) {
  if (object == nullptr || size == nullptr) return Status::invalid_param;
  *size = static_cast<Value>(object->items.size());
  return Status::ok;
}

template <typename Items>
Status is_empty(const Items* object, bool* empty) {
  if (object == nullptr || empty == nullptr) return Status::invalid_param;
  *empty = object->items.empty();
  return Status::ok;
}

template <typename List>
Status create_list(Memory memory, List** list) {
  if (list == nullptr) return Status::invalid_param;
  *list = new List{memory, {}};
  return Status::ok;
}

template <typename List>
Status type_of(const List* list, Memory* memory) {
  if (list == nullptr || memory == nullptr) return Status::invalid_param;
  *memory = list->memory;
  return Status::ok;
}

template <typename List>
Status remove_at(List* list, int index) {
  if (list == nullptr) return Status::invalid_param;
  if (index < 0 || static_cast<size_t>(index) >= list->items.size()) return Status::backend;
  list->items.erase(list->items.begin() + index);
  return Status::ok;
}

template <typename List>
Status trim(List* list) {
  if (list == nullptr) return Status::invalid_param;
  list->items.shrink_to_fit();
  return Status::ok;
}

template <typename List>
Status clear(List* list) {
  if (list == nullptr) return Status::invalid_param;
  list->items.clear();
  return Status::ok;
}

template <typename List>
Status resize(List* list, size_t size) {
  if (list == nullptr) return Status::invalid_param;
  if (size > list->items.max_size()) return Status::backend;
  list->items.resize(size);
  return Status::ok;
}

Status give(const std::string& bytes, void** data, size_t* length) {
  *data = nullptr;
  *length = bytes.size();
  if (bytes.empty()) return Status::ok;
  *data = std::malloc(bytes.size());
  if (*data == nullptr) return Status::backend;
  std::memcpy(*data, bytes.data(), bytes.size());
  return Status::ok;
}

}  // namespace

Status create_params(ParamsRef* params) { return create(params); }
Status destroy_params(ParamsRef params) { return destroy(params); }

Status params_add(ParamsRef params, const char* key, const char* value) {
  if (params == nullptr || key == nullptr || value == nullptr) return Status::invalid_param;
  params->values[key] = value;
  return Status::ok;
}

Status params_is_empty(ParamsRef params, bool* empty) {
  if (params == nullptr || empty == nullptr) return Status::invalid_param;
  *empty = params->values.empty();
  return Status::ok;
}

Status params_create_iterator(ParamsRef params, ParamsIteratorRef* iterator) {
  if (params == nullptr || iterator == nullptr) return Status::invalid_param;
  *iterator = new ParamsIteratorObject{params->values, {}};
  (*iterator)->next = (*iterator)->values.begin();
  return Status::ok;
}

// `more` is true if another entry follows. Without any entry, key and value do not change.
Status params_iterator_next(ParamsIteratorRef iterator, const char** key, const char** value, bool* more) {
  if (iterator == nullptr || key == nullptr || value == nullptr || more == nullptr) return Status::invalid_param;
  if (iterator->next != iterator->values.end()) {
    *key = iterator->next->first.c_str();
    *value = iterator->next->second.c_str();
    ++iterator->next;
  }
  *more = iterator->next != iterator->values.end();
  return Status::ok;
}

Status params_destroy_iterator(ParamsIteratorRef iterator) { return destroy(iterator); }

Status destroy_string_list(StringListRef list) { return destroy(list); }
Status string_list_size(StringListRef list, size_t* size) { return size_of(list, size); }

Status string_list_get(StringListRef list, size_t index, const char** text) {
  if (list == nullptr || text == nullptr || index >= list->items.size()) return Status::invalid_param;
  *text = list->items[index].c_str();
  return Status::ok;
}

Status destroy_mem_list(MemoryListRef list) { return destroy(list); }
Status mem_list_is_empty(MemoryListRef list, bool* empty) { return is_empty(list, empty); }
Status mem_list_size(MemoryListRef list, size_t* size) { return size_of(list, size); }

Status mem_list_get(MemoryListRef list, size_t index, Memory* memory) {
  if (list == nullptr || memory == nullptr || index >= list->items.size()) return Status::invalid_param;
  *memory = list->items[index];
  return Status::ok;
}

Status mem_type_to_string(Memory memory, const char** text) {
  static constexpr const char* NAMES[] = {"DRAM", "VRAM", "BLOCK", "OBJECT", "FILE", "UNKNOWN"};
  const auto index = static_cast<size_t>(memory);
  if (text == nullptr || index >= std::size(NAMES)) return Status::invalid_param;
  *text = NAMES[index];
  return Status::ok;
}

Status create_opt_args(OptArgsRef* args) { return create(args); }
Status destroy_opt_args(OptArgsRef args) { return destroy(args); }

Status opt_args_add_backend(OptArgsRef args, BackendRef backend) {
  if (args == nullptr || backend == nullptr) return Status::invalid_param;
  args->backends.push_back(backend->plugin);
  return Status::ok;
}

Status opt_args_set_notif_msg(OptArgsRef args, const void* data, size_t length) {
  if (args == nullptr || (data == nullptr && length > 0)) return Status::invalid_param;
  args->message.assign(static_cast<const char*>(data), length);
  return Status::ok;
}

Status opt_args_get_notif_msg(OptArgsRef args, void** data, size_t* length) {
  if (args == nullptr || data == nullptr || length == nullptr) return Status::invalid_param;
  return give(args->message, data, length);
}

Status opt_args_set_has_notif(OptArgsRef args, bool value) {
  if (args == nullptr) return Status::invalid_param;
  args->has_notification = value;
  return Status::ok;
}

Status opt_args_get_has_notif(OptArgsRef args, bool* value) {
  if (args == nullptr || value == nullptr) return Status::invalid_param;
  *value = args->has_notification;
  return Status::ok;
}

Status opt_args_set_skip_desc_merge(OptArgsRef args, bool value) {
  if (args == nullptr) return Status::invalid_param;
  args->skip_merge = value;
  return Status::ok;
}

Status opt_args_get_skip_desc_merge(OptArgsRef args, bool* value) {
  if (args == nullptr || value == nullptr) return Status::invalid_param;
  *value = args->skip_merge;
  return Status::ok;
}

Status opt_args_set_ip_addr(OptArgsRef args, const char* address) {
  if (args == nullptr || address == nullptr) return Status::invalid_param;
  args->address = address;
  return Status::ok;
}

Status opt_args_set_port(OptArgsRef args, uint16_t port) {
  if (args == nullptr) return Status::invalid_param;
  args->port = port;
  return Status::ok;
}

Status opt_args_set_custom_param(OptArgsRef args, const void* data, size_t length) {
  if (args == nullptr || (data == nullptr && length > 0)) return Status::invalid_param;
  args->custom.assign(static_cast<const char*>(data), length);
  return Status::ok;
}

Status opt_args_get_custom_param(OptArgsRef args, void** data, size_t* length) {
  if (args == nullptr || data == nullptr || length == nullptr) return Status::invalid_param;
  return give(args->custom, data, length);
}

Status create_reg_dlist(Memory memory, RegistrationListRef* list) { return create_list(memory, list); }
Status destroy_reg_dlist(RegistrationListRef list) { return destroy(list); }
Status reg_dlist_get_type(RegistrationListRef list, Memory* memory) { return type_of(list, memory); }

Status reg_dlist_add_desc(RegistrationListRef list, uintptr_t address, size_t length, uint64_t device, const void* meta,
                          size_t meta_length) {
  if (list == nullptr) return Status::invalid_param;
  std::string text;
  if (meta != nullptr) text.assign(static_cast<const char*>(meta), meta_length);
  list->items.push_back({{address, length, device}, std::move(text)});
  return Status::ok;
}

Status reg_dlist_desc_count(RegistrationListRef list, size_t* count) { return size_of(list, count); }
Status reg_dlist_is_empty(RegistrationListRef list, bool* empty) { return is_empty(list, empty); }
Status reg_dlist_trim(RegistrationListRef list) { return trim(list); }
Status reg_dlist_rem_desc(RegistrationListRef list, int index) { return remove_at(list, index); }
Status reg_dlist_clear(RegistrationListRef list) { return clear(list); }
Status reg_dlist_resize(RegistrationListRef list, size_t size) { return resize(list, size); }

Status create_xfer_dlist(Memory memory, TransferListRef* list) { return create_list(memory, list); }
Status destroy_xfer_dlist(TransferListRef list) { return destroy(list); }
Status xfer_dlist_get_type(TransferListRef list, Memory* memory) { return type_of(list, memory); }

Status xfer_dlist_add_desc(TransferListRef list, uintptr_t address, size_t length, uint64_t device) {
  if (list == nullptr) return Status::invalid_param;
  list->items.push_back({address, length, device});
  return Status::ok;
}

Status xfer_dlist_desc_count(TransferListRef list, size_t* count) { return size_of(list, count); }
Status xfer_dlist_len(TransferListRef list, size_t* length) { return size_of(list, length); }
Status xfer_dlist_is_empty(TransferListRef list, bool* empty) { return is_empty(list, empty); }
Status xfer_dlist_trim(TransferListRef list) { return trim(list); }
Status xfer_dlist_rem_desc(TransferListRef list, int index) { return remove_at(list, index); }
Status xfer_dlist_clear(TransferListRef list) { return clear(list); }
Status xfer_dlist_resize(TransferListRef list, size_t size) { return resize(list, size); }

Status create_remote_dlist(Memory memory, RemoteListRef* list) { return create_list(memory, list); }
Status destroy_remote_dlist(RemoteListRef list) { return destroy(list); }

Status remote_dlist_add_desc(RemoteListRef list, uintptr_t address, size_t length, uint64_t device, const char* name) {
  if (list == nullptr) return Status::invalid_param;
  list->items.emplace_back(name == nullptr ? "" : name, Block{address, length, device});
  return Status::ok;
}

Status create_notif_map(NotificationsRef* notifications) { return create(notifications); }
Status destroy_notif_map(NotificationsRef notifications) { return destroy(notifications); }

Status notif_map_size(NotificationsRef notifications, size_t* size) {
  if (notifications == nullptr || size == nullptr) return Status::invalid_param;
  *size = notifications->messages.size();
  return Status::ok;
}

Status notif_map_get_agent_at(NotificationsRef notifications, size_t index, const char** name) {
  if (notifications == nullptr || name == nullptr) return Status::invalid_param;
  if (index >= notifications->messages.size()) return Status::invalid_param;
  *name = std::next(notifications->messages.begin(), static_cast<ptrdiff_t>(index))->first.c_str();
  return Status::ok;
}

Status notif_map_get_notifs_size(NotificationsRef notifications, const char* name, size_t* size) {
  if (notifications == nullptr || name == nullptr || size == nullptr) return Status::invalid_param;
  const auto found = notifications->messages.find(name);
  if (found == notifications->messages.end()) return Status::invalid_param;
  *size = found->second.size();
  return Status::ok;
}

Status notif_map_get_notif(NotificationsRef notifications, const char* name, size_t index, const void** data,
                           size_t* length) {
  if (notifications == nullptr || name == nullptr || data == nullptr || length == nullptr) return Status::invalid_param;
  const auto found = notifications->messages.find(name);
  if (found == notifications->messages.end() || index >= found->second.size()) return Status::invalid_param;
  *data = found->second[index].data();
  *length = found->second[index].size();
  return Status::ok;
}

Status notif_map_clear(NotificationsRef notifications) {
  if (notifications == nullptr) return Status::invalid_param;
  notifications->messages.clear();
  return Status::ok;
}

Status create_query_resp_list(QueryRef* list) { return create(list); }
Status destroy_query_resp_list(QueryRef list) { return destroy(list); }

Status query_resp_list_size(QueryRef list, size_t* size) {
  if (list == nullptr || size == nullptr) return Status::invalid_param;
  *size = list->answers.size();
  return Status::ok;
}

Status query_resp_list_has_value(QueryRef list, size_t index, bool* has_value) {
  if (list == nullptr || has_value == nullptr || index >= list->answers.size()) return Status::invalid_param;
  *has_value = list->answers[index].has_value();
  return Status::ok;
}

Status query_resp_list_get_params(QueryRef list, size_t index, ParamsRef* params) {
  if (list == nullptr || params == nullptr || index >= list->answers.size()) return Status::invalid_param;
  if (!list->answers[index].has_value()) return Status::invalid_param;
  *params = new ParamsObject{*list->answers[index]};
  return Status::ok;
}

}  // namespace dynamo::nixl::mocked
