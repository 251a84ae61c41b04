// Every function of NIXL's C API that is used: feature, name without `nixl_capi_`, parameters. All return a Status.
//
// Memory that is returned through `void**` or `char**` was allocated with malloc. The caller frees it with free().
// Names that are returned through `const char**` live as long as the object that they belong to.
#pragma once

#define DYNAMO_NIXL_FUNCTIONS(F)                                                                                    \
  F(core, create_configured_agent, (const char* name, const AgentConfig* config, AgentRef* agent))                  \
  F(core, destroy_agent, (AgentRef agent))                                                                          \
  F(core, get_local_md, (AgentRef agent, void** data, size_t* length))                                              \
  F(core, load_remote_md, (AgentRef agent, const void* data, size_t length, char** name))                           \
  F(core, invalidate_remote_md, (AgentRef agent, const char* name))                                                 \
  F(core, check_remote_md, (AgentRef agent, const char* name, TransferListRef list))                                \
  F(core, agent_make_connection, (AgentRef agent, const char* name, OptArgsRef args))                               \
  F(core, get_available_plugins, (AgentRef agent, StringListRef * plugins))                                         \
  F(core, destroy_string_list, (StringListRef list))                                                                \
  F(core, string_list_size, (StringListRef list, size_t * size))                                                    \
  F(core, string_list_get, (StringListRef list, size_t index, const char** text))                                   \
  F(core, get_plugin_params, (AgentRef agent, const char* plugin, MemoryListRef* memories, ParamsRef* params))      \
  F(core, destroy_mem_list, (MemoryListRef list))                                                                   \
  F(core, mem_list_is_empty, (MemoryListRef list, bool* empty))                                                     \
  F(core, mem_list_size, (MemoryListRef list, size_t * size))                                                       \
  F(core, mem_list_get, (MemoryListRef list, size_t index, Memory * memory))                                        \
  F(core, mem_type_to_string, (Memory memory, const char** text))                                                   \
  F(core, create_backend, (AgentRef agent, const char* plugin, ParamsRef params, BackendRef* backend))              \
  F(core, destroy_backend, (BackendRef backend))                                                                    \
  F(core, get_backend_params, (AgentRef agent, BackendRef backend, MemoryListRef * memories, ParamsRef * params))   \
  F(core, create_params, (ParamsRef * params))                                                                      \
  F(core, destroy_params, (ParamsRef params))                                                                       \
  F(core, params_add, (ParamsRef params, const char* key, const char* value))                                       \
  F(core, params_is_empty, (ParamsRef params, bool* empty))                                                         \
  F(core, params_create_iterator, (ParamsRef params, ParamsIteratorRef * iterator))                                 \
  F(core, params_iterator_next, (ParamsIteratorRef iterator, const char** key, const char** value, bool* more))     \
  F(core, params_destroy_iterator, (ParamsIteratorRef iterator))                                                    \
  F(core, create_opt_args, (OptArgsRef * args))                                                                     \
  F(core, destroy_opt_args, (OptArgsRef args))                                                                      \
  F(core, opt_args_add_backend, (OptArgsRef args, BackendRef backend))                                              \
  F(core, opt_args_set_notif_msg, (OptArgsRef args, const void* data, size_t length))                               \
  F(core, opt_args_get_notif_msg, (OptArgsRef args, void** data, size_t* length))                                   \
  F(core, opt_args_set_has_notif, (OptArgsRef args, bool value))                                                    \
  F(core, opt_args_get_has_notif, (OptArgsRef args, bool* value))                                                   \
  F(core, opt_args_set_skip_desc_merge, (OptArgsRef args, bool value))                                              \
  F(core, opt_args_get_skip_desc_merge, (OptArgsRef args, bool* value))                                             \
  F(core, create_reg_dlist, (Memory memory, RegistrationListRef * list))                                            \
  F(core, destroy_reg_dlist, (RegistrationListRef list))                                                            \
  F(core, reg_dlist_get_type, (RegistrationListRef list, Memory * memory))                                          \
  F(core, reg_dlist_add_desc,                                                                                       \
    (RegistrationListRef list, uintptr_t address, size_t length, uint64_t device, const void* meta,                 \
     size_t meta_length))                                                                                           \
  F(core, reg_dlist_desc_count, (RegistrationListRef list, size_t * count))                                         \
  F(core, reg_dlist_is_empty, (RegistrationListRef list, bool* empty))                                              \
  F(core, reg_dlist_trim, (RegistrationListRef list))                                                               \
  F(core, reg_dlist_rem_desc, (RegistrationListRef list, int index))                                                \
  F(core, reg_dlist_clear, (RegistrationListRef list))                                                              \
  F(core, reg_dlist_resize, (RegistrationListRef list, size_t size))                                                \
  F(core, register_mem, (AgentRef agent, RegistrationListRef list, OptArgsRef args))                                \
  F(core, deregister_mem, (AgentRef agent, RegistrationListRef list, OptArgsRef args))                              \
  F(core, create_xfer_dlist, (Memory memory, TransferListRef * list))                                               \
  F(core, destroy_xfer_dlist, (TransferListRef list))                                                               \
  F(core, xfer_dlist_get_type, (TransferListRef list, Memory * memory))                                             \
  F(core, xfer_dlist_add_desc, (TransferListRef list, uintptr_t address, size_t length, uint64_t device))           \
  F(core, xfer_dlist_desc_count, (TransferListRef list, size_t * count))                                            \
  F(core, xfer_dlist_len, (TransferListRef list, size_t * length))                                                  \
  F(core, xfer_dlist_is_empty, (TransferListRef list, bool* empty))                                                 \
  F(core, xfer_dlist_trim, (TransferListRef list))                                                                  \
  F(core, xfer_dlist_rem_desc, (TransferListRef list, int index))                                                   \
  F(core, xfer_dlist_clear, (TransferListRef list))                                                                 \
  F(core, xfer_dlist_resize, (TransferListRef list, size_t size))                                                   \
  F(core, create_xfer_req,                                                                                          \
    (AgentRef agent, Operation operation, TransferListRef local, TransferListRef remote, const char* name,          \
     RequestRef* request, OptArgsRef args))                                                                         \
  F(core, post_xfer_req, (AgentRef agent, RequestRef request, OptArgsRef args))                                     \
  F(core, get_xfer_status, (AgentRef agent, RequestRef request))                                                    \
  F(core, query_xfer_backend, (AgentRef agent, RequestRef request, BackendRef * backend))                           \
  F(core, release_xfer_req, (AgentRef agent, RequestRef request))                                                   \
  F(core, destroy_xfer_req, (RequestRef request))                                                                   \
  F(core, get_notifs, (AgentRef agent, NotificationsRef notifications, OptArgsRef args))                            \
  F(core, gen_notif, (AgentRef agent, const char* name, const void* data, size_t length, OptArgsRef args))          \
  F(core, create_notif_map, (NotificationsRef * notifications))                                                     \
  F(core, destroy_notif_map, (NotificationsRef notifications))                                                      \
  F(core, notif_map_size, (NotificationsRef notifications, size_t * size))                                          \
  F(core, notif_map_get_agent_at, (NotificationsRef notifications, size_t index, const char** name))                \
  F(core, notif_map_get_notifs_size, (NotificationsRef notifications, const char* name, size_t* size))              \
  F(core, notif_map_get_notif,                                                                                      \
    (NotificationsRef notifications, const char* name, size_t index, const void** data, size_t* length))            \
  F(core, notif_map_clear, (NotificationsRef notifications))                                                        \
  F(preparedLists, prep_xfer_dlist,                                                                                 \
    (AgentRef agent, const char* name, TransferListRef list, PreparedListRef* prepared, OptArgsRef args))           \
  F(preparedLists, release_xfer_dlist_handle, (AgentRef agent, PreparedListRef prepared))                           \
  F(preparedLists, make_xfer_req,                                                                                   \
    (AgentRef agent, Operation operation, PreparedListRef local, const int* local_indices, size_t local_count,      \
     PreparedListRef remote, const int* remote_indices, size_t remote_count, RequestRef* request, OptArgsRef args)) \
  F(partialMetadata, get_local_partial_md,                                                                          \
    (AgentRef agent, RegistrationListRef list, void** data, size_t* length, OptArgsRef args))                       \
  F(metadataExchange, send_local_md, (AgentRef agent, OptArgsRef args))                                             \
  F(metadataExchange, send_local_partial_md, (AgentRef agent, RegistrationListRef list, OptArgsRef args))           \
  F(metadataExchange, fetch_remote_md, (AgentRef agent, const char* name, OptArgsRef args))                         \
  F(metadataExchange, invalidate_local_md, (AgentRef agent, OptArgsRef args))                                       \
  F(metadataExchange, opt_args_set_ip_addr, (OptArgsRef args, const char* address))                                 \
  F(metadataExchange, opt_args_set_port, (OptArgsRef args, uint16_t port))                                          \
  F(telemetry, get_xfer_telemetry, (AgentRef agent, RequestRef request, TransferTelemetry * telemetry))             \
  F(cost, estimate_xfer_cost,                                                                                       \
    (AgentRef agent, RequestRef request, OptArgsRef args, int64_t * duration_us, int64_t * margin_us,               \
     CostMethod * method))                                                                                          \
  F(queryMemory, create_query_resp_list, (QueryRef * list))                                                         \
  F(queryMemory, destroy_query_resp_list, (QueryRef list))                                                          \
  F(queryMemory, query_resp_list_size, (QueryRef list, size_t * size))                                              \
  F(queryMemory, query_resp_list_has_value, (QueryRef list, size_t index, bool* has_value))                         \
  F(queryMemory, query_resp_list_get_params, (QueryRef list, size_t index, ParamsRef * params))                     \
  F(queryMemory, query_mem, (AgentRef agent, RegistrationListRef list, QueryRef answers, OptArgsRef args))          \
  F(customParam, opt_args_set_custom_param, (OptArgsRef args, const void* data, size_t length))                     \
  F(customParam, opt_args_get_custom_param, (OptArgsRef args, void** data, size_t* length))                         \
  F(memView, create_remote_dlist, (Memory memory, RemoteListRef * list))                                            \
  F(memView, destroy_remote_dlist, (RemoteListRef list))                                                            \
  F(memView, remote_dlist_add_desc,                                                                                 \
    (RemoteListRef list, uintptr_t address, size_t length, uint64_t device, const char* name))                      \
  F(memView, prep_mem_view_local, (AgentRef agent, TransferListRef list, MemoryViewRef * view, OptArgsRef args))    \
  F(memView, prep_mem_view_remote, (AgentRef agent, RemoteListRef list, MemoryViewRef * view, OptArgsRef args))     \
  F(memView, release_mem_view, (AgentRef agent, MemoryViewRef view))
