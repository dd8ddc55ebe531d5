import type { IAuthenticateGeneric, ICredentialTestRequest, ICredentialType, Icon, INodeProperties } from 'n8n-workflow';

/** Where the gateway is and which virtual key speaks to it, with what all nodes of this instance share. */
export class RunpurseApi implements ICredentialType {
  name = 'runpurseApi';

  displayName = 'Runpurse API';

  icon: Icon = { light: 'file:../icons/runpurse.svg', dark: 'file:../icons/runpurse.dark.svg' };

  documentationUrl = 'https://github.com/runpurse/runpurse/tree/main/packages/adapters/n8n';

  properties: INodeProperties[] = [
    {
      displayName: 'Gateway URL',
      name: 'baseUrl',
      type: 'string',
      required: true,
      default: 'http://127.0.0.1:8787',
      placeholder: 'https://runpurse.example.com',
      description: 'Address of your Runpurse gateway, with or without /v1',
    },
    {
      displayName: 'Virtual Key',
      name: 'apiKey',
      type: 'string',
      typeOptions: { password: true },
      required: true,
      default: '',
      description: 'A key made by "runpurse keys create". It says which workspace pays.',
    },
    {
      displayName: 'When the Gateway Is Away',
      name: 'failurePolicy',
      type: 'options',
      options: [
        {
          name: 'Go on and Say So',
          value: 'open',
          description: 'Spend is let through unbounded, and the output says that nobody checked or recorded it',
        },
        {
          name: 'Stop',
          value: 'closed',
          description: 'Nothing is spent that the gateway has not allowed',
        },
      ],
      default: 'open',
      description:
        'What steps that ask or tell the gateway do when it gives no answer. Model calls go through it and reads come from it, so they fail either way.',
    },
    {
      displayName: 'Instance Name',
      name: 'instance',
      type: 'string',
      default: '',
      placeholder: 'prod',
      description:
        'Put in front of the execution ID to make the run ID. Needed only when several n8n instances share a workspace: each counts its executions from 1.',
    },
  ];

  authenticate: IAuthenticateGeneric = {
    type: 'generic',
    properties: { headers: { Authorization: '=Bearer {{$credentials.apiKey}}' } },
  };

  test: ICredentialTestRequest = {
    request: {
      baseURL: '={{$credentials.baseUrl.trim().replace(/\\/+$/, "").replace(/\\/v1$/, "")}}',
      url: '/v1/models',
    },
  };
}
